"""One PyTorch quantization API each, behind `prepare` and `convert`."""
