"""Every flow that traces takes models with ``*inputs`` and ``**options``, as Hugging Face's have."""

import pytest
import torch
from builders import threads
from quantizable import Two, built, decibels, made, numbers

from pytest_quant import QuantStageError, Recipe


class Many(Two):
    """Takes any number of inputs."""

    def forward(self, *parts):
        return self.last(self.hidden(parts[0] + parts[1]))


class Options(Two):
    """Takes its second input by a name that its signature does not have."""

    def forward(self, x, **options):
        outputs = self.last(self.hidden(x + options["shift"]))
        return -outputs if options.get("minus") else outputs


class All(Two):
    """One of each kind."""

    def forward(self, x, /, scale=1.0, *parts, double=False, **options):
        outputs = self.last(self.hidden(x + parts[0])) * scale + options["bias"]
        return outputs * 2 if double else outputs


class Named(Two):
    def forward(self, **inputs):
        return self.last(self.hidden(inputs["wide"] + inputs["narrow"]))


# Model -> how it is called.
CALLS = {
    Many: lambda model, x: model(x, 0.1 * x),
    Options: lambda model, x: model(x, minus=True, shift=0.1 * x),
    All: lambda model, x: model(x, 2.0, 0.1 * x, double=True, bias=x[:, :4]),
    Named: lambda model, x: model(wide=x, narrow=0.1 * x),
}


@pytest.mark.parametrize("flow", ["fx", "pt2e", "parts", "onnx"])
@pytest.mark.parametrize("make", CALLS)
def test_a_variadic_model_is_quantized(make, flow):
    forward = CALLS[make]
    with threads(1):
        variant = built(made(make), Recipe("static", flow=flow), numbers, forward=forward)
        assert decibels(variant) > 25
    assert variant.int8_share.macs == 1


@pytest.mark.parametrize("flow", ["fx", "pt2e"])
def test_names_may_come_in_any_order(flow):
    with threads(1):
        variant = built(made(Named), Recipe("static", flow=flow), numbers, forward=CALLS[Named])
        x = torch.randn(4, 8)
        outputs = variant.model(wide=x, narrow=2 * x)
        assert torch.equal(variant.model(narrow=2 * x, wide=x), outputs)
        assert not torch.equal(variant.model(wide=2 * x, narrow=x / 2), outputs)


def test_what_forward_takes_and_never_reads_is_no_obstacle():
    class Ignoring(Two):
        def forward(self, x, **unused):
            return self.last(self.hidden(x))

    def batches(seed, sizes=(8, 8, 5)):
        return [({"x": x, "type_ids": x.long()}, targets) for x, targets in numbers(seed, sizes)]

    with threads(1):
        variant = built(made(Ignoring), Recipe("static", flow="pt2e"), batches)
        assert decibels(variant) > 25


def test_names_that_python_does_not_take_are_refused_by_pt2e():
    def forward(model, x):
        return model(**{"wide": x, "narrow": x, "not a name": x})

    with pytest.raises(QuantStageError, match=r"needs arguments whose names Python takes as names"):
        built(made(Named), Recipe("static", flow="pt2e"), numbers, forward=forward)
