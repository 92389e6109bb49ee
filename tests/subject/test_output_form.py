"""Output form: what cannot be compared sample by sample is refused with what to write."""

import numpy as np
import pytest
import torch
from builders import ONE_THREAD, batches, open_store, tiny_linear, toy_subject
from torch import nn

from pytest_quant import Metric, QuantStageError, Recipe


class Changed(nn.Module):
    """The tiny model, whose outputs become others."""

    def __init__(self, change):
        super().__init__()
        self.body, self.change = tiny_linear().requires_grad_(False), change

    def forward(self, x):
        return self.change(self.body(x))


def scores(outputs, targets):
    """Whatever the outputs are; never reached where they are refused."""
    return (outputs.abs().argmax(1) == targets).float()


FORMS = {
    "sparse tensors (sparse_coo)": (lambda o: o.to_sparse(), ".to_dense()"),
    "sparse tensors (sparse_csr)": (lambda o: o.to_sparse_csr(), ".to_dense()"),
    "nested tensors": (lambda o: torch.nested.nested_tensor(list(o)), ".to_padded_tensor(0.0)"),
    "quantized tensors (quint8)": (
        lambda o: torch.quantize_per_tensor(o, 0.1, 9, torch.quint8), ".dequantize()"),
    "tensors of float8_e5m2": (lambda o: {"out": o.to(torch.float8_e5m2)}, ".float()"),
    "tensors of complex32": (lambda o: o.to(torch.complex32), ".to(torch.complex64)"),
}  # fmt: skip
if np.dtype(np.longdouble).itemsize > 8:
    wide = np.dtype(np.longdouble)
    FORMS[f"arrays of {wide}"] = (lambda o: o.numpy().astype(wide), ".astype('float64')")


@pytest.mark.filterwarnings("ignore:.*beta state:UserWarning")
@pytest.mark.filterwarnings("ignore:.*prototype stage:UserWarning")
@pytest.mark.filterwarnings("ignore:.*ComplexHalf support is experimental:UserWarning")
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("what", FORMS)
@pytest.mark.parametrize("is_built", [False, True])
def test_outputs_of_another_form_are_refused_with_what_makes_them_plain(what, is_built):
    change, remedy = FORMS[what]
    build = Recipe("custom", build=lambda model: Changed(change), quantized=False)
    subject = toy_subject(None if is_built else Changed(change), metric=scores)
    with pytest.raises(QuantStageError) as caught:
        open_store(ONE_THREAD).variant(subject, build if is_built else Recipe("dynamic"))
    who = "the custom variant" if is_built else "quant_model (FP32)"
    assert f"{who} gives {what} as outputs" in str(caught.value)
    assert f"model(x){remedy}" in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*prototype stage:UserWarning")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda x, y: (x, nn.functional.one_hot(y).to_sparse()), r"sparse .* as targets.*targets\.to"),
        (lambda x, y: (torch.nested.nested_tensor(list(x)), y), r"nested tensors as inputs"),
    ],
)  # fmt: skip
def test_targets_and_inputs_of_another_form_are_refused_too(data, message):
    given = [data(x, y) for x, y in batches()]
    with pytest.raises(QuantStageError, match=message):
        open_store(ONE_THREAD).fp32(toy_subject(eval_data=given, metric=scores))


@pytest.mark.parametrize("is_said", [False, True])
def test_complex_outputs_are_scored_by_a_metric_of_ones_own(is_said):
    model = Changed(lambda o: torch.complex(o.exp(), o))
    data = [(x, model(x).abs().argmax(1)) for x, _ in batches(64)]
    metric = Metric(scores, "own", higher_is_better=True, unit="fraction") if is_said else scores
    fp32 = open_store(ONE_THREAD).fp32(toy_subject(model, eval_data=data, metric=metric))
    (known,) = fp32.admitted.metrics
    assert known.higher_is_better is True
    assert fp32.evaluation.values[known.name] == 1


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda o: torch.complex(o, o), r"model\(x\)\.abs\(\)"),
        (lambda o: torch.complex(o, o).numpy(), r"model\(x\)\.abs\(\)"),
        (lambda o: o > 0, r"model\(x\)\.float\(\)"),
        (lambda o: o.abs().to(torch.uint16), r"model\(x\)\.float\(\)"),
    ],
)
def test_top_1_of_outputs_without_a_highest_says_how_they_get_one(change, remedy):
    with pytest.raises(QuantStageError, match=f"names the highest outputs.*{remedy}"):
        open_store(ONE_THREAD).fp32(toy_subject(Changed(change)))


@pytest.mark.parametrize(
    "change", [lambda a: a[:, ::-1], lambda a: a.astype(">f4"), lambda a: np.asfortranarray(a)]
)
def test_arrays_that_are_views_or_of_another_order_of_bytes_are_compared(change):
    def ranked(model, x):
        scores = model(x)
        return {"ranked": change(scores.numpy()), "logits": scores}

    metric = Metric(lambda o, y: o["logits"].argmax(1) == y, "right", higher_is_better=True)
    subject = toy_subject(tiny_linear(), forward=ranked, metric=metric)
    variant = open_store(ONE_THREAD).variant(subject, Recipe("dynamic"))
    assert len(variant.evaluation) == 32
