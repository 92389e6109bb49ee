"""A user's build that cannot run as FP32 does, or answers otherwise, is told where it was built."""

import pytest
import torch
from builders import tiny_linear, toy_variant

from pytest_quant import Metric, Recipe, assert_max_accuracy_drop
from pytest_quant.errors import QuantStageError


def int8(module):
    return torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear})


def giving(change):
    def build(module):
        quantized = int8(module)
        return lambda x: change(quantized(x))

    return build


class Seven(torch.nn.Module):
    def __init__(self, number):
        super().__init__()


WRONG = {
    "fewer outputs": (giving(lambda y: y[:-1]), r"gave 15 outputs for 16 samples: shape \[15, 3\], where"),
    "one for all": (giving(lambda y: y.mean()), r"gave outputs of shape \[\], where FP32 gives \[16, 3\]"),
    "two": (giving(lambda y: (y, y)), r"gave a tuple of 2 with 2 tensors, where FP32 gives a Tensor of"),
    "none": (giving(lambda y: None), r"gave a NoneType with no tensor, where FP32 gives a Tensor of"),
    "half": (lambda m: m.half(), r"FP32 takes, of shape \[16, 8\]: .*let the build cast its own inputs"),
    "bfloat16": (lambda m: m.bfloat16(), r"let the build cast its own inputs, or use Recipe\('cast'\)"),
    "one input more": (lambda m: lambda x, y: m(x), r"'y'; let the build return what is called as"),
    "a class": (lambda m: Seven, r"returned the class Seven, not an instance of it; expected"),
    "a tuple": (lambda m: (int8(m), "how"), r"returned a tuple of 2 \(Sequential, str\); expected"),
    "weights": (lambda m: int8(m).state_dict(), r"returned a OrderedDict with \S+, \S+, \S+ and \d+ more"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "said"), WRONG.values(), ids=WRONG)
def test_what_is_no_model_of_fp32s_form_is_an_error_of_the_build(build, said):
    with pytest.raises(QuantStageError, match=said) as raised:
        toy_variant(Recipe("custom", build=build))
    assert raised.value.stage == "convert"
    assert "\n" not in raised.value.sentence
    assert "quant_eval_data" not in raised.value.sentence


ALIKE = {
    "a dict of logits": giving(lambda y: {"logits": y, "other": y}),
    "a class more": giving(lambda y: torch.nn.functional.pad(y, (0, 1), value=-99.0)),
    "an array": giving(lambda y: y.numpy()),
}


@pytest.mark.parametrize("build", ALIKE.values(), ids=ALIKE)
def test_outputs_in_which_a_metric_finds_the_same_are_taken(build):
    toy_variant(Recipe("custom", build=build, quantized=False))


class Segmenting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = tiny_linear()

    def forward(self, x):
        return {"out": self.inner(x), "aux": self.inner(x).sum(1)}


def test_what_a_metric_does_not_look_at_may_be_left_out():
    def build(module):
        quantized = int8(module)
        return lambda x: {"out": quantized(x)["out"]}

    toy_variant(
        Recipe("custom", build=build, quantized=False),
        model=Segmenting().eval(),
        metric=Metric(lambda o, y: o["out"].argmax(1) == y, "right", higher_is_better=True),
    )


def test_an_axis_of_one_more_is_no_harm():
    class One(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = tiny_linear()

        def forward(self, x):
            return self.inner(x)[:, 0]

    def build(module):
        quantized = int8(module)
        return lambda x: quantized(x)[:, None]

    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    toy_variant(
        Recipe("custom", build=build, quantized=False),
        model=One().eval(),
        eval_data=[(x, x[:, 0])],
        metric=Metric(
            lambda o, y: (o.reshape(-1) - y).abs(), "error", higher_is_better=False, unit="raw"
        ),
    )


def test_as_many_boxes_as_samples_by_chance_are_no_outputs_by_sample():
    class Boxes(torch.nn.Module):
        def __init__(self, inner, limit):
            super().__init__()
            self.inner, self.limit = inner, limit

        def forward(self, x):
            y = self.inner(x).repeat(2, 1)
            return y[y[:, 0].argsort(descending=True)[: self.limit]]

    recipe = Recipe("custom", build=lambda m: Boxes(int8(m.inner), 15), quantized=False)
    toy_variant(
        recipe,
        model=Boxes(tiny_linear(), 16).eval(),
        metric=Metric(lambda o, y: float(o.sum()), "sum", higher_is_better=True, unit="raw"),
    )


def test_what_fails_when_it_is_called_once_more_is_told_where_that_is_needed():
    def build(module):
        quantized, calls = int8(module), []

        def run(x):
            calls.append(1)
            if len(calls) > 1:
                raise ValueError("closed")
            return quantized(x)

        return run

    variant = toy_variant(Recipe("custom", build=build, quantized=False))
    with pytest.raises(QuantStageError, match="closed"):
        _ = variant.evaluation


def test_outputs_whose_number_depends_on_values_may_be_more_or_fewer():
    class Some(torch.nn.Module):
        def __init__(self, inner, limit):
            super().__init__()
            self.inner, self.limit = inner, limit

        def forward(self, x):
            y = self.inner(x)
            return y[y[:, 0] > self.limit]

    recipe = Recipe("custom", build=lambda m: Some(int8(m.inner), 0.1), quantized=False)
    data = [(torch.randn(64, 8, generator=torch.Generator().manual_seed(1)), torch.zeros(64))]
    toy_variant(
        recipe,
        model=Some(tiny_linear(), 0.0).eval(),
        eval_data=data,
        metric=lambda outputs, targets: float(outputs.sum()),
    )


def test_a_later_batch_that_fp32_takes_is_not_to_blame():
    def build(module):
        quantized = int8(module)

        def run(x):
            if len(x) != 16:
                raise ValueError("16 samples")
            return quantized(x)

        return run

    x = torch.randn(40, 8)
    data = list(zip(x.split(16), x[:, :3].argmax(1).split(16), strict=True))
    variant = toy_variant(Recipe("custom", build=build, quantized=False), eval_data=data)
    with pytest.raises(
        QuantStageError, match=r"shape \[8, 8\], which FP32 takes: .*Let its build take"
    ):
        _ = variant.evaluation


def test_a_metric_that_takes_fp32s_outputs_is_not_to_be_overridden():
    build = giving(lambda y: y if len(y) == 16 else y[:5])
    x = torch.randn(40, 8)
    data = list(zip(x.split(16), x[:, :3].argmax(1).split(16), strict=True))
    variant = toy_variant(Recipe("custom", build=build, quantized=False), eval_data=data)
    with pytest.raises(
        QuantStageError, match=r"gave a Tensor of shape .*as not on FP32's"
    ) as raised:
        _ = variant.evaluation
    assert "override" not in raised.value.sentence


@pytest.mark.parametrize("recipe", [Recipe("dynamic"), Recipe("custom", build=int8)])
def test_a_later_batch_that_fp32_does_not_take_either_is_to_blame(recipe):
    good = torch.randn(16, 8)
    data = [(good, good[:, :3].argmax(1)), (torch.randn(4, 5), torch.zeros(4, dtype=torch.int64))]
    variant = toy_variant(recipe, eval_data=data)
    with pytest.raises(
        QuantStageError, match=r"fp32 could not run .*Check the inputs of quant_eval"
    ):
        assert_max_accuracy_drop(variant, 0.3)
