"""Activations: tensors with known distributions, and what quantizing them really costs."""

import torch

from pytest_quant.quantize.histogram import Histogram


def normal(count, seed=0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def laplace(count, seed=0):
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(seed)) - 0.5
    return -uniform.sign() * torch.log1p(-2 * uniform.abs())


def with_outlier(values, outlier):
    return torch.cat([values, torch.tensor([outlier])])


def bins_of(values):
    """The bins of a histogram that has seen these values."""
    histogram = Histogram.empty()
    histogram.add(values)
    return histogram.bins()


def quantized_error(values, low, high, count):
    """The summed squared error of PyTorch's own quantization to `count` levels, value by value."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (count - 1)
    zero_point = round(-low / scale)
    values = values.double()
    back = torch.fake_quantize_per_tensor_affine(values, scale, zero_point, 0, count - 1)
    return float((values - back).square().sum())
