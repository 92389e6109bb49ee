"""Recipe: what it refuses, how it is named, that it is a plain and hashable value."""

import dataclasses
import json

import pytest
import torch

from pytest_quant import Recipe


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
        "keep_fp32": ["stem.*", "torch.nn.modules.linear.Linear"],
        "dtype": None,
        "bits": 4,
        "calibration_samples": 200,
        "epochs": 2,
        "lr": 0.0001,
        "build": None,
    }
    assert Recipe("custom", build=halve).to_dict()["build"].endswith(".halve")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"kind": "ptq"}, r"kind is 'ptq'; allowed: dynamic, static, qat, custom"),
        ({"kind": ["static"]}, r"kind is \['static'\]; allowed"),
        ({"flow": "jit"}, r"flow is 'jit'; allowed: auto, fx"),
        ({"engine": "cuda"}, r"engine is 'cuda'; allowed: x86, fbgemm, onednn, qnnpack"),
        ({"observer": "mean"}, r"observer is 'mean'; allowed: histogram, minmax, moving_average"),
        ({"calibration_samples": 0}, r"calibration_samples is 0; a whole number from 1"),
        ({"calibration_samples": 2.5}, r"calibration_samples is 2\.5"),
        ({"calibration_samples": True}, r"calibration_samples is True"),
        ({"kind": "qat", "epochs": 0}, r"epochs is 0; a whole number from 1"),
        ({"kind": "qat", "lr": 0}, r"lr is 0; a positive number"),
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
    with pytest.raises(ValueError, match=f"says nothing to kind='{kind}'; leave it out"):
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
