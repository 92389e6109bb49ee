"""Layer types: names of PyTorch's layers that quantization has kernels for, as methods cover them."""

LINEAR = frozenset({"Linear"})
TRANSPOSED = frozenset(f"ConvTranspose{n}d" for n in (1, 2, 3))
CONVOLUTIONS = frozenset(f"Conv{n}d" for n in (1, 2, 3)) | TRANSPOSED
ATTENTION = frozenset({"MultiheadAttention", "NonDynamicallyQuantizableLinear"})  # and its out_proj
RECURRENT = frozenset({"LSTM", "GRU", "LSTMCell", "GRUCell", "RNNCell"})
EMBEDDINGS = frozenset({"Embedding", "EmbeddingBag"})
WEIGHTED = LINEAR | CONVOLUTIONS | EMBEDDINGS  # whose weights are rounded beforehand
SCALES = 16  # bytes of a channel's scale and zero point, in a layer of `torch.ao.quantization`
EMBEDDING_SCALES = dict.fromkeys(EMBEDDINGS, 8)  # of a row's, which has its own in any case
