"""Inputs: one table says which variants depend on what a user gives."""

import dataclasses

import pytest
import torch
from builders import batches, tiny_linear

from pytest_quant import Subject
from pytest_quant.plugin import fixtures
from pytest_quant.subject.inputs import INPUTS, inputs_for
from pytest_quant.variant.recipe import KINDS

DATA = {each.field: object() for each in INPUTS if each.field != "model"}


def subject(**given):
    return Subject(tiny_linear(), **{**DATA, **given})


def test_each_input_is_a_fixture_and_a_field_of_the_subject():
    names = {field.name for field in dataclasses.fields(Subject)}
    for each in INPUTS:
        assert each.field in names
        assert callable(getattr(fixtures, each.fixture))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("static", {"calibration_data"}),
        ("qat", {"train_data", "train", "loss"}),
        *((kind, set()) for kind in ("fp32", *KINDS) if kind not in ("static", "qat")),
    ],
)
def test_a_kind_depends_on_what_it_needs_and_on_what_all_need(kind, fields):
    base = {"model", "eval_data", "metric", "batch", "forward", "latency_inputs"}
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
