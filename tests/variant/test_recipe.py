"""Recipe: what it refuses, how it is named, that it is a plain and hashable value."""

import dataclasses
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_quant import Recipe
from pytest_quant.variant.recipe import (
    DTYPES,
    ENGINES,
    FLOWS,
    KINDS,
    OBSERVERS,
    QSCHEMES,
    SLOW_TO_TRAIN,
    SOME_FLOWS,
    USED,
)


def halve(module):
    return module.half()


def test_equal_recipes_are_one_key():
    built = {Recipe("static", keep_fp32=["fc"]): "built"}
    assert built[Recipe("static", keep_fp32=("fc",))] == "built"
    assert Recipe("static") != Recipe("static", per_channel=False)


def test_a_recipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe("static").engine = "qnnpack"


@pytest.mark.parametrize("one", ["layer4.*", torch.nn.Linear])
def test_a_single_kept_module_needs_no_tuple(one):
    assert Recipe("static", keep_fp32=one).keep_fp32 == (one,)


@pytest.mark.parametrize(
    ("recipe", "label"),
    [
        (Recipe("dynamic"), "dynamic"),
        (Recipe("static", observer="minmax"), "static(observer=minmax)"),
        (Recipe("qat", epochs=5, lr=0.01), "qat(epochs=5, lr=0.01)"),
        (Recipe("custom", build=halve), f"custom(build={halve.__module__}.halve)"),
    ],
)
def test_a_label_says_what_is_not_the_default(recipe, label):
    assert recipe.label == label


def test_a_recipe_is_plain_json():
    recipe = Recipe("static", engine="x86", keep_fp32=("stem.*", torch.nn.Linear))
    assert json.loads(json.dumps(recipe.to_dict())) == {
        "kind": "static",
        "flow": "auto",
        "engine": "x86",
        "observer": None,
        "qscheme": None,
        "per_channel": True,
        "equalize": False,
        "keep_fp32": ["stem.*", "torch.nn.modules.linear.Linear"],
        "dtype": None,
        "bits": 4,
        "calibration_samples": 200,
        "epochs": 2,
        "lr": 0.0001,
        "build": None,
    }
    assert Recipe("custom", build=halve).to_dict()["build"].endswith(".halve")


def test_one_that_is_not_meant_to_be_quantized_says_so():
    recipe = Recipe("custom", build=halve, quantized=False)
    assert recipe.label.endswith("halve, quantized=False)")
    assert recipe.to_dict()["quantized"] is False
    with pytest.raises(ValueError, match="quantized=False does not apply to kind='static'"):
        Recipe("static", quantized=False)
    with pytest.raises(TypeError, match="quantized is 0; expected True or False"):
        Recipe("custom", build=halve, quantized=0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            {"kind": "ptq"},
            r"kind is 'ptq'; allowed: dynamic, static, qat, weight_only, cast, custom, artefact",
        ),
        ({"kind": ["static"]}, r"kind is \['static'\]; allowed"),
        ({"flow": "jit"}, r"flow is 'jit'; allowed: auto, best, eager, fx, pt2e, parts"),
        ({"engine": "cuda"}, r"engine is 'cuda'; allowed: x86, fbgemm, onednn, qnnpack"),
        ({"observer": "mean"}, r"observer is 'mean'; allowed: histogram, minmax, moving_average"),
        ({"calibration_samples": 0}, r"calibration_samples is 0; expected a whole number from 1"),
        ({"calibration_samples": 2.5}, r"calibration_samples is 2\.5"),
        ({"calibration_samples": True}, r"calibration_samples is True"),
        ({"kind": "qat", "epochs": 0}, r"epochs is 0; expected a whole number from 1"),
        ({"kind": "qat", "lr": 0}, r"lr is 0; expected a positive number"),
        ({"kind": "qat", "lr": float("nan")}, r"lr is nan"),
        ({"kind": "qat", "lr": "fast"}, r"lr is 'fast'"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(arguments, named):
    with pytest.raises(ValueError, match=named):
        Recipe(**{"kind": "static", **arguments})


@pytest.mark.parametrize("kept", [3, None, (3,), [None]])
def test_kept_modules_are_names_or_types(kept):
    with pytest.raises(TypeError, match="keep_fp32 takes names or module types, not"):
        Recipe("static", keep_fp32=kept)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("dynamic", {"observer": "minmax"}),
        ("dynamic", {"calibration_samples": 100}),
        ("static", {"epochs": 3}),
        ("static", {"lr": 0.1}),
        ("qat", {"calibration_samples": 100}),
        ("custom", {"build": halve, "keep_fp32": ("fc",)}),
        ("custom", {"build": halve, "per_channel": False}),
    ],
)
def test_what_a_kind_would_ignore_is_refused(kind, arguments):
    with pytest.raises(ValueError, match=f"does not apply to kind='{kind}'; leave it out"):
        Recipe(kind, **arguments)


@pytest.mark.parametrize(
    ("kind", "build"), [("custom", None), ("custom", "halve"), ("static", halve)]
)
def test_build_goes_with_custom_and_only_with_it(kind, build):
    with pytest.raises(TypeError, match="goes with kind='custom' and only with it"):
        Recipe(kind, build=build)


def test_everything_but_the_kind_is_given_by_name():
    with pytest.raises(TypeError):
        Recipe("static", "fx")


SIZES = st.integers(1, 10_000)
CHOICES = {
    "flow": st.sampled_from(FLOWS),
    "engine": st.sampled_from([None, "auto", *ENGINES]),
    "observer": st.sampled_from([None, *OBSERVERS]),
    "qscheme": st.sampled_from([None, *QSCHEMES]),
    "per_channel": st.booleans(),
    "keep_fp32": st.lists(st.text(max_size=9), max_size=3).map(tuple),
    "calibration_samples": SIZES,
    "epochs": SIZES,
    "lr": st.floats(1e-9, 10.0),
}


@st.composite
def recipes(draw):
    """Any recipe but a custom one."""
    kind = draw(st.sampled_from([kind for kind in KINDS if kind != "custom"]))
    chosen = {name: draw(CHOICES[name]) for name in USED[kind] if name in CHOICES}
    if kind == "artefact":
        chosen["path"] = draw(st.sampled_from(["a.onnx", "build/b.xml", "/c/d.pte", "ü.tflite"]))
    if kind in SOME_FLOWS:
        chosen["flow"] = draw(st.sampled_from(SOME_FLOWS[kind]))
    if kind == "qat":
        fast = [name for name in OBSERVERS if name not in SLOW_TO_TRAIN]
        chosen["observer"] = draw(st.sampled_from([None, *fast]))
    if kind in DTYPES:
        chosen["dtype"] = draw(st.sampled_from([None, *DTYPES[kind]]))
        if chosen["dtype"] == "codebook":
            chosen["bits"] = draw(st.integers(1, 8))
        if chosen["dtype"] not in (None, "int8"):
            chosen.pop("per_channel", None)
    return Recipe(kind, **chosen)


@given(recipe=recipes())
def test_every_recipe_comes_back_from_json(recipe):
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert again.label == recipe.label


def test_types_come_back_as_their_names():
    plain = Recipe("static", keep_fp32=(torch.nn.Linear, "fc")).to_dict()
    assert Recipe.from_dict(plain).keep_fp32 == ("torch.nn.modules.linear.Linear", "fc")


def test_a_custom_recipe_cannot_come_back_without_its_build():
    with pytest.raises(TypeError, match="goes with kind='custom' and only with it"):
        Recipe.from_dict(Recipe("custom", build=halve).to_dict())


@pytest.mark.parametrize(
    ("plain", "error"), [({"kind": "ptq"}, ValueError), ({"kind": "static", "x": 1}, TypeError)]
)
def test_what_no_recipe_says_does_not_come_back(plain, error):
    with pytest.raises(error):
        Recipe.from_dict(plain)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("weight_only", "int8"), ("cast", "bfloat16"), ("static", None), ("dynamic", None)],
)
def test_a_type_that_is_not_given_is_the_first(kind, dtype):
    assert Recipe(kind).dtype == dtype


@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        ("static", {"qscheme": "affine"}, r"qscheme is 'affine'; allowed: per_tensor_affine, "),
        ("static", {"engine": "AUTO"}, r"engine is 'AUTO'; allowed: .*auto"),
        ("weight_only", {"dtype": "int2"}, r"dtype is 'int2'; allowed: int8, int4, float16, "),
        ("weight_only", {"dtype": "bfloat16"}, r"dtype is 'bfloat16'; allowed: int8"),
        ("cast", {"dtype": "int8"}, r"dtype is 'int8'; allowed: bfloat16, float16"),
        (
            "weight_only",
            {"dtype": "codebook", "bits": 9},
            r"bits is 9; expected .* from 1 to 8",
        ),
        (
            "weight_only",
            {"dtype": "codebook", "bits": 0},
            r"bits is 0; expected .* from 1 to 8",
        ),
        ("weight_only", {"dtype": "int8", "bits": 3}, r"bits=3 does not apply to dtype='int8'"),
        ("weight_only", {"bits": 3}, r"bits=3 does not apply to dtype='int8'"),
        (
            "dynamic",
            {"flow": "fx"},
            r"flow 'fx' has no dynamic quantization; allowed: auto, best, eager",
        ),
        ("dynamic", {"flow": "parts"}, r"flow 'parts' has no dynamic quantization"),
        ("qat", {"observer": "percentile"}, r"observer 'percentile' is for static quantization"),
        ("qat", {"observer": "entropy"}, r"QAT learns with moving_average, minmax or histogram"),
        ("qat", {"observer": "mse"}, r"observer 'mse' is for static quantization"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(kind, arguments, named):
    with pytest.raises(ValueError, match=named):
        Recipe(kind, **arguments)


GIVEN = {
    "flow": "fx",
    "engine": "onednn",
    "observer": "minmax",
    "qscheme": "per_tensor_symmetric",
    "per_channel": False,
    "keep_fp32": ("fc",),
    "calibration_samples": 7,
    "dtype": "int4",
    "bits": 3,
    "epochs": 7,
    "lr": 0.5,
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_kind_has_no_use_for_is_refused(kind):
    build = {"custom": {"build": halve}, "artefact": {"path": "a.onnx"}}.get(kind, {})
    for name, value in GIVEN.items():
        if name not in USED[kind]:
            with pytest.raises(ValueError, match=f"{name}=.* does not apply to kind='{kind}'"):
                Recipe(kind, **build, **{name: value})


@pytest.mark.parametrize(
    ("kind", "wishes", "said"),
    [
        ("static", {"flow": "best", "runtimes": ("lite",)}, "'lite'; allowed: onnx, openvino"),
        ("qat", {"flow": "best", "runtimes": ("openvino",)}, "runtimes is 'openvino'; allowed: onnx"),
        ("static", {"runtimes": ("onnx",)}, "goes with flow='best'"),
        ("cast", {"runtimes": ("onnx",)}, "does not apply to kind='cast'"),
    ],
)  # fmt: skip
def test_runtimes_that_no_contest_can_take_are_refused(kind, wishes, said):
    with pytest.raises(ValueError, match=said):
        Recipe(kind, **wishes)


def test_runtimes_come_back_from_json():
    recipe = Recipe("static", flow="best", runtimes=["onnx"])
    assert recipe.runtimes == ("onnx",)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert "runtimes" not in Recipe("static").to_dict()
