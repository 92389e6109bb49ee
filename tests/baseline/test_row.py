"""Row: the one place that says what is known of a variant; schema and baseline follow from it."""

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace

import pytest
from builders import latency_cells, measured_rows, metric_cells, plain_row

from pytest_quant.baseline.row import (
    ClassScore,
    FlippedSample,
    Latency,
    MetricScore,
    Row,
    SliceScore,
    kept,
)
from pytest_quant.report.schema import schema
from pytest_quant.variant.key import ModelKey, RowKey
from pytest_quant.variant.measurements import Int8Share, Size

DEFINED = {
    "row": Row,
    "metric": MetricScore,
    "class": ClassScore,
    "slice": SliceScore,
    "flip": FlippedSample,
    "latency": Latency,
}
DEFINED |= {"size": Size, "share": Int8Share}
WORDS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def words_of(annotation):
    """JSON Schema's types of an annotation."""
    if isinstance(annotation, types.UnionType):
        return [word for part in typing.get_args(annotation) for word in words_of(part)]
    origin = typing.get_origin(annotation)
    if origin is tuple:
        return ["array"]
    if is_dataclass(annotation) or origin is Mapping:
        return ["object"]
    return [WORDS[annotation]]


@pytest.mark.parametrize("name", DEFINED)
def test_the_schema_says_of_a_row_what_its_fields_say(name):
    defined, hints = schema()["$defs"][name], typing.get_type_hints(DEFINED[name])
    parts = [part for part in fields(DEFINED[name]) if part.name != "others"]
    assert list(defined["properties"]) == [part.name for part in parts]
    needed = [part.name for part in parts if part.default is part.default_factory is MISSING]
    assert sorted(defined["required"]) == sorted({*needed} - {"stayed_fp32"})
    for part in parts:
        said = defined["properties"][part.name]
        if "$ref" in said:
            said = said | schema()["$defs"][said["$ref"].removeprefix("#/$defs/")]
        types_ = [said["type"]] if isinstance(said["type"], str) else said["type"]
        assert sorted(types_) == sorted(words_of(hints[part.name])), part.name
        if description := part.metadata.get("description"):
            assert defined["properties"][part.name]["description"] == description


def test_plain_json_makes_the_same_row_again():
    metric = metric_cells(
        flipped=[3, 4], classes=[{"label": 1, "samples": 2, "value": 0.5, "drop": None}]
    )
    for plain in (
        *measured_rows(),
        plain_row(metrics=[metric], latency=latency_cells(), work={"linear": 1.0}),
    ):
        row = Row.from_dict(plain)
        assert row.to_dict() == plain
        assert Row.from_dict(json.loads(json.dumps(row.to_dict()))) == row


def test_what_a_later_version_adds_is_kept():
    row = Row.from_dict(plain_row() | {"energy": {"joule": 3}})
    assert row.others == {"energy": {"joule": 3}}
    assert row.to_dict()["energy"] == {"joule": 3}


def test_what_must_be_there_is_missed_by_name():
    plain = plain_row(metrics=[metric_cells()])
    del plain["metrics"][0]["drop"]
    with pytest.raises(KeyError, match="drop"):
        Row.from_dict(plain)


def test_it_cannot_be_changed():
    row = Row.blank(RowKey("", "Net", "static"))
    with pytest.raises(AttributeError):
        row.error = "no"
    assert replace(row, error="no").error == "no"


def test_a_key_names_place_model_and_variant():
    row = Row.blank(RowKey("tests", "Net", "static"))
    assert row.key == RowKey.of(row.key.to_dict()) == RowKey("tests", "Net", "static")
    assert row.key.of_model == ModelKey("tests", "Net")


@pytest.mark.parametrize(
    ("ends", "interval"),
    [([1.0, 2.0], (1.0, 2.0)), (None, None), ([None, 2.0], None), ([1.0], None), ([], None)],
)
def test_an_interval_has_two_ends_that_are_numbers(ends, interval):
    row = Row.from_dict(plain_row(latency=latency_cells(interval_95=ends)))
    assert row.latency.interval == interval


def test_a_baseline_keeps_numbers_and_no_remarks():
    assert not {"notes", "error", "seconds", "explanation"} & {*kept(Row)}
    assert {"model", "where", "variant", "metrics", "eval_set", "latency"} < {*kept(Row)}
    assert {"flipped", "classes"}.isdisjoint(kept(MetricScore))
