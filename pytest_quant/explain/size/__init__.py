"""Which tensors hold the bytes of a variant."""
