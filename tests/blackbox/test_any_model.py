"""Any model: what people build becomes int8 in each way by a flow that can take it, evaluated and gated."""

import json

import anymodels
import pytest

TESTS = """
EXPECTED = {expected}

def test_fp32_has_learned(quant_fp32):
    assert_max_accuracy_drop(quant_fp32, 0, min_baseline=0.85)

@pytest.mark.parametrize("quant_variant", [{recipes}], indirect=True)
def test_gates(quant_variant):
    flow, share, ratio = EXPECTED[quant_variant.recipe.kind]
    assert quant_variant.recipe.flow == flow
    assert_gates(
        quant_variant, max_accuracy_drop=0.03, min_int8_share=share, max_size_ratio=ratio
    )
"""
AUTO = 'Recipe("dynamic"), Recipe("static"), Recipe("qat")'
PT2E = AUTO.replace('")', '", flow="pt2e")')
slow = pytest.mark.slow


def each(flow, share, ratio):
    return dict.fromkeys(("static", "qat"), (flow, share, ratio))


# Source -> of each kind, the flow that takes it, the least int8 share of the parameters and the largest
# size as a share of FP32's.
EXPECTED = {
    # FX takes a recurrent layer as a whole, and PyTorch has no static kernel for it.
    "LSTM": {"dynamic": ("eager", 0.97, 0.28)} | each("fx", 0.02, 0.99),
    "GRU": {"dynamic": ("eager", 0.97, 0.28)} | each("fx", 0.02, 0.99),
    # So it does with attention and encoders, of which another flow takes all.
    "ENCODER": {"dynamic": ("eager", 0.48, 0.7)} | each("pt2e", 0.9, 0.45),
    "VIT": {"dynamic": ("eager", 0.42, 0.74)} | each("pt2e", 0.85, 0.5),
    "BERT": {"dynamic": ("eager", 0.96, 0.4)} | each("fx", 0.96, 0.4),
    "BERT_OF_ANY_TYPE": {"dynamic": ("eager", 0.96, 0.4)} | each("pt2e", 0.85, 0.45),
    "BRANCH": {"dynamic": ("eager", 0.97, 0.37)} | each("parts", 0.97, 0.37),
    "AUTOGRAD": {"dynamic": ("eager", 0.97, 0.37)} | each("fx", 0.97, 0.37),
    # Each use of a tied weight has int8 weights of its own.
    "SHARED": {"dynamic": ("eager", 0.97, 0.57)} | each("fx", 0.97, 0.57),
    # A layer whose weight the model reads itself cannot become dynamic.
    "READS": {"dynamic": ("eager", 0.35, 0.8)} | each("fx", 0.97, 0.37),
    "STUBS": {"dynamic": ("eager", 0.97, 0.37)} | each("eager", 0.97, 0.37),
    "RESNET18": {"dynamic": ("eager", 0.0001, 1)} | each("eager", 0.99, 0.27),
    "MOBILENET_V2": {"dynamic": ("eager", 0.001, 1)} | each("eager", 0.98, 0.3),
}
SLOW = ("BERT_OF_ANY_TYPE", "RESNET18", "MOBILENET_V2")
# Why flow auto went on to another flow for static and QAT, as the report says it.
REFUSALS = {
    "BRANCH": "quantized by flow parts, since fx cannot trace quant_model: TraceError:*; pt2e cannot "
    "export quant_model: *(conftest.py:*: if x.sum() > 0:)",
    "BERT_OF_ANY_TYPE": "quantized by flow pt2e, since fx cannot trace quant_model: TypeError: *"
    "(conftest.py:*: bias = * * torch.finfo(x.dtype).min)",
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=slow if name in SLOW else ()) for name in EXPECTED]
)
def test_each_kind_passes_its_gates_and_the_flow_is_reported(model_repo, name):
    rows, result = gated(model_repo, name, EXPECTED[name], AUTO)
    assert {kind: row["recipe"]["flow"] for kind, row in rows.items()} == {
        kind: flow for kind, (flow, *_) in EXPECTED[name].items()
    }
    result.stdout.fnmatch_lines([f"bad *{kind} * 3 PASS" for kind in EXPECTED[name]])
    refused = [line for line in result.outlines if "quantized by flow" in line]
    if name in REFUSALS:
        result.stdout.fnmatch_lines([f"bad {kind}: {REFUSALS[name]}" for kind in ("static", "qat")])
    else:
        assert refused == []


COMPILED = {
    "ENCODER": ("pt2e", 0.48, 0.7),
    "VIT": ("pt2e", 0.42, 0.75),
}


@slow
@pytest.mark.parametrize("name", COMPILED)
def test_flow_pt2e_looks_into_encoders(model_repo, name):
    expected = dict.fromkeys(("dynamic", "static", "qat"), COMPILED[name])
    rows, _ = gated(model_repo, name, expected, PT2E)
    for row in rows.values():
        assert row["recipe"]["flow"] == "pt2e"
        assert row["recipe"]["engine"] == "onednn"


def gated(model_repo, name, expected, recipes):
    """The rows of a run in which all gates pass, by kind, and the run's result."""
    model_repo.spoil(
        getattr(anymodels, name) + anymodels.FIXTURES,
        TESTS.format(expected=expected, recipes=recipes),
    )
    result = model_repo.judge("--quant-report=out", passed=4)
    report = json.loads((model_repo.path / "out/report.json").read_text())
    rows = [row for row in report["rows"] if row["model"] == "bad" and row["recipe"]]
    return {row["recipe"]["kind"]: row for row in rows}, result
