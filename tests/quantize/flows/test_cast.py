"""Casts: what goes in and comes out, what stays float32, and what cannot be."""

import collections
import copy
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pytest_quant import QuantStageError
from pytest_quant.quantize.flows.cast import cast, changed

LOW = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class ModelOutput(collections.OrderedDict):
    """An output object as transformers has them: entries that are attributes too."""

    def __init__(self, **entries):
        super().__init__(entries)
        self.__dict__.update(entries)

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        self.__dict__[key] = value


@dataclass
class Record:
    logits: torch.Tensor
    name: str


Pair = collections.namedtuple("Pair", "logits other")
NESTS = {
    "tensor": lambda y: y,
    "tuple": lambda y: (y, None, 3),
    "list": lambda y: [y, [y]],
    "dict": lambda y: {"logits": y, "loss": None},
    "namedtuple": lambda y: Pair(y, 1),
    "dataclass": lambda y: Record(y, "a"),
    "namespace": lambda y: SimpleNamespace(logits=y, inner=SimpleNamespace(y=y)),
    "model output": lambda y: ModelOutput(logits=y, loss=None),
}


class Wraps(nn.Module):
    """A Linear whose inputs come by name and whose outputs are in a nest."""

    def __init__(self, nest):
        super().__init__()
        self.nest = nest
        self.fc = nn.Linear(8, 3)

    def forward(self, pixels=None, mask=None):
        assert pixels.dtype == self.fc.weight.dtype
        assert mask is None or mask.dtype == torch.int64
        return self.nest(self.fc(pixels))


def dtypes(value):
    seen = []
    changed(value, lambda tensor: seen.append(tensor.dtype) or tensor)
    return set(seen)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("nest", NESTS)
def test_outputs_are_float32_in_a_nest_of_the_same_type(nest, dtype):
    model = cast(Wraps(NESTS[nest]), dtype)
    assert model.fc.weight.dtype == LOW[dtype]
    with torch.inference_mode():
        outputs = model(pixels=torch.randn(4, 8), mask=torch.ones(4, dtype=torch.int64))
        assert type(outputs) is type(NESTS[nest](torch.zeros(1)))
        assert dtypes(outputs) == {torch.float32}


def test_a_model_output_changes_its_entries_and_its_attributes():
    output = cast(Wraps(NESTS["model output"]), "bfloat16")(torch.randn(4, 8))
    assert output.logits is output["logits"]
    assert output.logits.dtype == torch.float32
    assert list(output) == ["logits", "loss"]


def test_what_holds_no_tensor_to_change_stays_the_same_object():
    value = {"a": [torch.zeros(2), SimpleNamespace(b=3)], "c": (1, "x")}
    assert changed(value, lambda tensor: tensor) is value
    other = changed(value, lambda tensor: tensor + 1)
    assert other["c"] is value["c"]
    assert other["a"][1] is value["a"][1]
    assert value["a"][0].tolist() == [0, 0]


def test_the_users_output_object_is_copied_and_not_changed():
    kept = []

    class Keeps(nn.Linear):
        def forward(self, x):
            kept.append(SimpleNamespace(logits=super().forward(x)))
            return kept[-1]

    output = cast(Keeps(8, 3), "bfloat16")(torch.randn(4, 8))
    assert output.logits.dtype == torch.float32
    assert kept[-1].logits.dtype == torch.bfloat16


def test_integers_and_double_outputs_stay_what_they_are():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 3)
            self.register_buffer("steps", torch.arange(3))

        def forward(self, x):
            return self.fc(x), self.steps, torch.zeros(2, dtype=torch.float64)

    model = cast(Mixed(), "bfloat16")
    assert [y.dtype for y in model(torch.randn(4, 8))] == [
        torch.float32,
        torch.int64,
        torch.float64,
    ]


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(8), (5, 8)),
        (nn.BatchNorm2d(8), (5, 8, 3, 3)),
        (nn.InstanceNorm2d(8, affine=True, track_running_stats=True), (5, 8, 3, 3)),
        (nn.LayerNorm(8), (5, 8)),
        (nn.GroupNorm(2, 8), (5, 8, 3)),
    ],
)
def test_normalisations_keep_float32_and_take_half_precision(norm, shape, dtype):
    inner = nn.Linear(shape[-1], shape[-1])
    model = cast(nn.Sequential(inner, copy.deepcopy(norm), nn.Linear(shape[-1], 2)).eval(), dtype)
    seen = []
    model[1].register_forward_hook(lambda _, args, output: seen.extend([args[0], output]))
    outputs = model(torch.randn(shape))
    assert torch.isfinite(outputs).all()
    assert {t.dtype for t in seen} == {LOW[dtype]}
    state = model[1].state_dict().values()
    assert {t.dtype for t in state if t.is_floating_point()} == {torch.float32}


def test_an_rms_norm_is_cast_since_it_takes_one_precision_only():
    model = cast(nn.Sequential(nn.Linear(8, 8), nn.RMSNorm(8)), "bfloat16")
    assert model[1].weight.dtype == torch.bfloat16
    assert torch.isfinite(model(torch.randn(4, 8))).all()


def test_a_variance_beyond_float16_does_no_harm():
    norm = nn.BatchNorm1d(8).eval()
    norm.running_var.fill_(1e6)
    norm.weight.data.fill_(1e3)
    fp32 = nn.Sequential(nn.Linear(8, 8), norm, nn.Linear(8, 3)).eval()
    inputs = torch.randn(4, 8)
    own = cast(copy.deepcopy(fp32), "float16")(inputs)
    torch.testing.assert_close(own, fp32(inputs), rtol=0.01, atol=0.01)


def test_a_kept_module_is_given_float32_and_gives_half_precision_on():
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3))
    model = cast(model, "bfloat16", keep_fp32=("1",))
    seen = {}
    for i, child in enumerate(model):
        child.register_forward_hook(
            lambda _, args, output, i=i: seen.update({i: (args[0].dtype, output.dtype)})
        )
    assert model(torch.randn(4, 8)).dtype == torch.float32
    assert seen == {
        0: (torch.bfloat16, torch.bfloat16),
        1: (torch.float32, torch.bfloat16),
        2: (torch.bfloat16, torch.bfloat16),
    }
    assert model[1].weight.dtype == torch.float32


def test_a_kept_last_module_gives_float32_that_was_not_rounded():
    model = cast(nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 3)), "bfloat16", keep_fp32=("1",))
    outputs = model(torch.randn(40, 8))
    assert outputs.dtype == torch.float32


def test_float32_made_in_the_forward_is_cast_where_it_meets_a_weight():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.out = nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.out(self.fc(x) + torch.arange(8.0))

    assert torch.isfinite(cast(Positions(), "bfloat16")(torch.randn(4, 8))).all()


def test_attention_keeps_its_fast_path():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 2)
    layer = cast(model.eval(), "bfloat16").layers[0]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in layer.modules())


def test_part_of_attention_cannot_be_kept_alone():
    model = nn.TransformerEncoderLayer(64, 4, 128)
    with pytest.raises(
        QuantStageError, match=r"keep self_attn\.out_proj alone.*Keep self_attn FP32"
    ):
        cast(model, "bfloat16", keep_fp32=("*.out_proj",))
    kept = cast(model.eval(), "bfloat16", keep_fp32=("self_attn",))
    assert kept.self_attn.in_proj_weight.dtype == torch.float32
    assert torch.isfinite(kept(torch.randn(5, 2, 64))).all()


def test_a_state_dict_has_the_users_names():
    model = nn.Sequential(nn.Linear(8, 3), nn.BatchNorm1d(3))
    before = list(model.state_dict())
    assert list(cast(model, "bfloat16").state_dict()) == before
