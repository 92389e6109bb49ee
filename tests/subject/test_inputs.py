"""Inputs: one table says which variants depend on what a user gives."""

import dataclasses
import inspect

import pytest
import torch
from builders import batches, tiny_linear

from pytest_quant import Subject
from pytest_quant.plugin import fixtures
from pytest_quant.subject.inputs import INPUTS, inputs_for
from pytest_quant.variant.recipe import KINDS

NO_INPUTS = {"name", "where", "ids", "identities"}
DATA = {each.field: object() for each in INPUTS if each.field != "model"}


def subject(**given):
    return Subject(tiny_linear(), **{**DATA, **given})


def test_each_input_is_a_fixture_and_a_field_of_the_subject():
    names = {field.name for field in dataclasses.fields(Subject)} - NO_INPUTS
    assert {each.field for each in INPUTS} == names
    for each in INPUTS:
        assert callable(getattr(fixtures, each.fixture))


def asked_by(fixture):
    """The inputs that a fixture asks for, itself or by another one of ours."""
    names = inspect.signature(inspect.unwrap(getattr(fixtures, fixture))).parameters
    own = {name for name in names if name.startswith("quant_")}
    return own.union(*(asked_by(name) for name in names if name.startswith("_quant")))


@pytest.mark.parametrize("kind", ["fp32", "dynamic", "static", "qat"])
def test_the_fixture_of_a_kind_asks_for_all_inputs_of_it_and_no_others(kind):
    assert asked_by(f"quant_{kind}") == {each.fixture for each in inputs_for(kind)}


def test_quant_variant_asks_for_the_inputs_of_every_kind_only():
    assert asked_by("quant_variant") == {each.fixture for each in INPUTS if each.kinds is None}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("static", {"calibration_data"}),
        ("qat", {"train_data", "train", "loss", "qat_state"}),
        *((kind, set()) for kind in ("fp32", *KINDS) if kind not in ("static", "qat")),
    ],
)
def test_a_kind_depends_on_what_it_needs_and_on_what_all_need(kind, fields):
    base = {"model", "eval_data", "metric", "batch", "forward", "latency_inputs", "slices"}
    assert {each.field for each in subject().inputs(kind)} == base | fields
    assert len(subject().identity(kind)) == len(base | fields)


def test_static_depends_on_the_training_data_only_without_calibration_data():
    fields = {each.field for each in subject(calibration_data=None).inputs("static")}
    assert {"calibration_data", "train_data"} <= fields
    assert len(inputs_for("static")) == len(fields)


@pytest.mark.parametrize("field", [each.field for each in INPUTS])
def test_another_object_makes_another_variant_of_the_kinds_that_depend_on_it(field):
    one = subject()
    other = dataclasses.replace(one, **{field: object()})
    (known,) = [each for each in INPUTS if each.field == field]
    for kind in ("fp32", "dynamic", "static", "qat"):
        depends = known.is_for(kind) and not (kind == "static" and field == "train_data")
        assert (one.identity(kind) != other.identity(kind)) == depends


def test_a_field_may_be_known_by_another_identity_than_its_objects():
    one = subject(eval_data=batches(), identities={"eval_data": ("digest", b"1")})
    same = dataclasses.replace(one, eval_data=batches())
    other = dataclasses.replace(one, identities={"eval_data": ("digest", b"2")})
    assert one.identity("fp32") == same.identity("fp32") != other.identity("fp32")
    assert one.identity_of("eval_data") == ("digest", b"1")
    assert torch.is_tensor(one.eval_data[0][0])
