"""Weights digest: equal for equal weights wherever they are read, another for any other value."""

import subprocess
import sys

import pytest
import torch
from builders import tiny_linear, toy_variant

from pytest_quant.report.rows import row_of
from pytest_quant.subject.weights_digest import weights_digest


class Odd(torch.nn.Module):
    """Tensors of many kinds."""

    def __init__(self):
        super().__init__()
        self.short = torch.nn.Parameter(torch.arange(4, dtype=torch.bfloat16))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("unsaved", torch.tensor(3), persistent=False)
        self.register_buffer("none", None)
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("sparse", torch.eye(3).to_sparse())
        self.register_buffer("complex", torch.tensor([1 + 2j]).conj())
        self.register_buffer("float8", torch.ones(2).to(torch.float8_e4m3fn))


def test_it_is_the_same_in_another_process():
    code = (
        "from builders import tiny_linear; from pytest_quant.subject.weights_digest import "
        "weights_digest; print(weights_digest(tiny_linear()))"
    )
    paths = ["tests", *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {paths!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == weights_digest(tiny_linear())


OTHERS = {
    "short": torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16)),
    "flags": torch.tensor([True, True]),
    "unsaved": torch.tensor(4),
    "empty": torch.zeros(0, 4),
    "sparse": torch.zeros(3, 3).to_sparse(),
    "complex": torch.tensor([1 + 2j]),
    "float8": torch.zeros(2).to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("name", OTHERS)
def test_each_parameter_and_buffer_counts(name):
    model, other = Odd(), Odd()
    assert weights_digest(model) == weights_digest(other)
    setattr(other, name, OTHERS[name])
    assert weights_digest(other) not in (None, weights_digest(model))


def test_names_count_and_the_layout_in_memory_does_not():
    model, other = (torch.nn.Conv2d(3, 4, 3) for _ in range(2))
    other.load_state_dict(model.state_dict())
    assert weights_digest(other.to(memory_format=torch.channels_last)) == weights_digest(model)
    named = (torch.nn.ModuleDict({name: model}) for name in "xy")
    assert len({*map(weights_digest, named)}) == 2


@pytest.mark.parametrize(
    "model",
    [torch.nn.ReLU(), torch.nn.Linear(2, 2, device="meta"), torch.nn.LazyLinear(2)],
    ids=["no weights", "meta", "lazy"],
)
def test_what_has_no_values_has_no_digest(model):
    assert weights_digest(model) is None


def test_every_row_of_a_model_has_its_fp32s():
    variant = toy_variant("dynamic")
    digest = weights_digest(tiny_linear())
    assert row_of(variant).fp32_digest == row_of(variant.fp32).fp32_digest == digest
    assert row_of(toy_variant("dynamic", model=tiny_linear(seed=1))).fp32_digest != digest
