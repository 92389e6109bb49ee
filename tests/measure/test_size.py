"""Size: bytes counted by hand, each storage once, packed weights included."""

import io

import pytest
import torch
from builders import tiny_linear, toy_variant

from pytest_quant import QuantStageError, Recipe
from pytest_quant.variant.measurements import Size
from pytest_quant.variant.tensors import stored_bytes

WEIGHTS, BIASES = 8 * 16 + 16 * 3, 16 + 3
FP32_BYTES = 4 * (WEIGHTS + BIASES)
ZERO_POINTS_AND_SCALES = 2 * (4 + 8)  # of each layer's output: a float32 and an int64


class Tied(torch.nn.Module):
    """One weight of [8, 8] under several names and as views; a buffer and two tensors beside it."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(8, 8, bias=False)
        self.second = torch.nn.Linear(8, 8, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("turned", self.first.weight.detach().t())
        self.register_buffer("upper", self.first.weight.detach()[:4])
        self.register_buffer("mask", torch.ones(8, dtype=torch.bool), persistent=False)
        self.plain = torch.zeros(8, dtype=torch.float32)

    def forward(self, x):
        return self.second(self.first(x))[:, :3] + self.plain[0]


def custom(build, model=None):
    return toy_variant(Recipe("custom", build=build), model=model, name="mine")


def test_fp32_is_four_bytes_for_each_parameter():
    assert toy_variant().fp32.size.tensor_bytes == FP32_BYTES == 780


def test_an_int8_weight_is_one_byte_with_one_scale_for_the_tensor():
    own = toy_variant(Recipe("dynamic", per_channel=False)).size.tensor_bytes
    assert own == WEIGHTS + 4 * BIASES + ZERO_POINTS_AND_SCALES


def test_scales_and_zero_points_of_each_channel_count():
    own = toy_variant(Recipe("dynamic")).size.tensor_bytes
    assert own == WEIGHTS + (16 + 3) * (8 + 8) + 4 * BIASES + ZERO_POINTS_AND_SCALES


def test_a_layer_kept_fp32_keeps_its_bytes():
    own = toy_variant(Recipe("dynamic", per_channel=False, keep_fp32="2")).size.tensor_bytes
    assert own == 8 * 16 + 4 * 16 + ZERO_POINTS_AND_SCALES // 2 + 4 * (16 * 3 + 3)


def test_shared_weights_and_views_count_once_and_every_other_tensor_counts():
    assert custom(lambda module: Tied()).size.tensor_bytes == 4 * 64 + 8 + 4 * 8


def test_an_expanded_tensor_counts_as_what_is_stored():
    class Expanded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("bias", torch.zeros(1, 12).expand(1000, 12))

        def forward(self, x):
            return x[:, :3] + self.bias[:1, :3]

    assert custom(lambda module: Expanded()).size.tensor_bytes == 12 * 4


def test_a_view_counts_what_it_shows_and_not_all_that_it_is_cut_from():
    class Cut(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("head", torch.zeros(1000)[:10])

        def forward(self, x):
            return x[:, :3] + self.head[0]

    assert custom(lambda module: Cut()).size.tensor_bytes == 40


def test_the_file_is_what_saving_the_state_dict_writes():
    model, file = tiny_linear(), io.BytesIO()
    torch.save(model.state_dict(), file)
    assert toy_variant(model=model).fp32.size.file_bytes == len(file.getvalue())


def test_a_callable_may_say_its_own_size():
    class Session:
        size_bytes = 1234

        def __init__(self, module):
            self.module = module

        def __call__(self, x):
            return self.module(x) * 1.01

    assert custom(Session).size == Size(1234, None)


def test_a_callable_that_does_not_say_its_size_is_an_error_that_names_the_remedy():
    variant = custom(lambda module: lambda x: module(x))
    with pytest.raises(QuantStageError, match=r"size of mine is unknown.*attribute size_bytes"):
        _ = variant.size


def test_a_per_channel_tensor_brings_its_scales_and_zero_points():
    scales, zeros = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    packed = torch.quantize_per_channel(torch.zeros(3, 5), scales, zeros, 0, torch.qint8)
    assert stored_bytes(packed) == 3 * 5 + 3 * 8 + 3 * 8
    assert stored_bytes(torch.quantize_per_tensor(torch.zeros(5), 1.0, 0, torch.qint8)) == 5


def test_a_megabyte_is_a_million_bytes():
    size = Size(2_500_000, 2_600_000)
    assert size.mb == 2.5
    assert size.to_dict() == {"tensor_bytes": 2_500_000, "file_bytes": 2_600_000}


def test_asking_for_the_size_evaluates_nothing():
    variant = toy_variant()
    _ = variant.size
    assert variant.measured("evaluation") is None


@pytest.mark.parametrize("said", [0, -1])
def test_a_size_of_nothing_is_no_size(said):
    def build(module):
        def session(x):
            return module(x)

        session.size_bytes = said
        return session

    with pytest.raises(QuantStageError, match="size of mine is unknown"):
        _ = custom(build).size
