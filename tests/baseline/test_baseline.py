"""Baseline: saved as JSON and read again; what is damaged, foreign or newer is refused."""

import contextlib
import json

import numpy as np
import pytest
from builders import latency_cells, metric_cells, plain_row
from hypothesis import given
from hypothesis import strategies as st

from pytest_quant.baseline.baseline import (
    Baseline,
    BaselineError,
    differences,
    load,
    path_of,
    read,
)
from pytest_quant.baseline.packing import fingerprint_of, pack_samples, pack_scores
from pytest_quant.baseline.row import Row
from pytest_quant.variant.key import RowKey

SAMPLES = np.array([b"%016x%08x" % (3 * n, 0) for n in range(20)], dtype="S24")
ENVIRONMENT = {"cpu": "CPU", "isa": "AVX2", "vnni": False, "threads": 1, "torch": "2.15.0"}


def stored_row(scores=None, **known):
    """A row as a baseline has it, with scores of the metric top-1."""
    scores = np.ones(20) if scores is None else scores
    with np.errstate(over="ignore"):
        value = float(np.mean(scores))
    value = value if np.isfinite(value) else None
    row = plain_row(metrics=[metric_cells(value=value, samples=20)], **known)
    row = {name: row[name] for name in row if name not in ("notes", "error", "seconds")}
    eval_set = {"fingerprint": fingerprint_of(SAMPLES), "samples": 20}
    return row | {"eval_set": eval_set, "scores": {"top-1": pack_scores(scores)}}


def baseline_of(*rows, name="main", **environment):
    eval_sets = {fingerprint_of(SAMPLES): pack_samples(SAMPLES)}
    rows = [dict(row) for row in rows or (stored_row(),)]
    scores = {RowKey.of(row): row.pop("scores") for row in rows}
    whole = tuple(Row.from_dict({"notes": [], "error": None, "seconds": {}} | row) for row in rows)
    return Baseline(name, ENVIRONMENT | environment, whole, scores, eval_sets)


numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=8)
rows = st.builds(
    stored_row,
    st.lists(numbers, min_size=20, max_size=20).map(np.array),
    model=texts,
    where=texts,
    variant=texts,
    size=st.none()
    | st.fixed_dictionaries({"tensor_bytes": st.integers(), "file_bytes": st.none()}),
    int8_share=st.none()
    | st.fixed_dictionaries({"parameters": st.none() | numbers, "macs": st.none() | numbers}),
    latency=st.none() | st.builds(latency_cells, st.floats(0.5, 9)),
    recipe=st.none() | st.just({"kind": "static", "engine": "x86"}),
)


@given(st.lists(rows, min_size=1, max_size=4, unique_by=RowKey.of), st.dictionaries(texts, texts))
def test_what_is_written_is_what_is_read(listed, environment):
    baseline = baseline_of(*listed, **{f"_{name}": text for name, text in environment.items()})
    assert Baseline.from_dict(json.loads(baseline.to_json())) == baseline


def test_it_is_found_by_name_and_its_rows_by_key(tmp_path):
    kept = baseline_of(stored_row(variant="qat"), stored_row(where="sub"))
    (tmp_path / "main.json").write_text(kept.to_json())
    found = load("main", tmp_path)
    assert found == kept
    assert found.row(RowKey("", "Net", "qat")) == kept.rows[0]
    assert found.row(RowKey("sub", "Net", "static")) == kept.rows[1]
    assert found.row(RowKey("", "Net", "static")) is None


def test_a_missing_one_says_which_are_there(tmp_path):
    with pytest.raises(
        BaselineError, match=r"no baseline 'main' in .* none at all.*--quant-save=main"
    ):
        load("main", tmp_path)
    (tmp_path / "v1.json").write_text("{}")
    with pytest.raises(BaselineError, match=r"there is: v1"):
        load("main", tmp_path)


def test_it_is_known_by_the_name_of_its_file_whatever_it_was_saved_as(tmp_path):
    (tmp_path / "v1.json").write_text(baseline_of(name="main").to_json())
    assert load("v1", tmp_path).name == "v1"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a\\b", "/etc/x", ".main", "a\n", "a:b", "é" * 200, None, "x."]
)
def test_a_name_is_no_path(name, tmp_path):
    with pytest.raises(BaselineError, match="no name for a baseline"):
        path_of(name, tmp_path)


@pytest.mark.parametrize("name", ["main", "v1.2", "release 3", "größe-1", "x", "a+b=c@d"])
def test_sensible_names_are_taken(name, tmp_path):
    assert path_of(name, tmp_path) == tmp_path / f"{name}.json"


def damaged(**changed):
    return json.loads(baseline_of().to_json()) | changed


def with_row(**changed):
    return damaged(rows=[json.loads(json.dumps(stored_row())) | changed])


FOREIGN = [
    ([], "not a baseline"),
    ({"version": 1, "environment": {}, "rows": [], "verdicts": []}, "not a baseline"),
    (damaged(version=4), "of version 4, written by a later pytest-quant, and this pytest-quant reads up"),
    (damaged(version=4, environment={"pytest_quant": "0.9.1"}), "written by pytest-quant 0.9.1, and this"),
    (damaged(version=4, environment=[1], rows=None), "written by a later pytest-quant"),
    (damaged(version="1"), "its version is '1'"),
    (damaged(version=True), "its version is True"),
    (damaged(version=0), "its version is 0"),
    (damaged(rows=None), "it is damaged"),
    (damaged(rows=["static"]), "it is damaged"),
    (damaged(rows=[{}]), "it is damaged: 'where' is missing"),
    (damaged(rows=[stored_row(), stored_row()]), "two rows"),
    (damaged(eval_sets={}), "it is damaged"),
    (damaged(eval_sets={fingerprint_of(SAMPLES): pack_samples(SAMPLES[1:])}), "another fingerprint"),
    (damaged(eval_sets={fingerprint_of(SAMPLES): "no base64!"}), "it is damaged"),
    (with_row(scores={"top-1": {"form": "bits", "data": ""}}), "20 scores as bits take 3 bytes, not 0"),
    (with_row(scores={"top-1": {"data": ""}}), "'form' is missing"),
    (with_row(eval_set={"fingerprint": fingerprint_of(SAMPLES), "samples": 21}), "lost samples"),
    (with_row(size={"tensor_bytes": "4"}), "'4' stands where"),
    (with_row(size={"tensor_bytes": True}), "True stands where"),
    (with_row(metrics=[{"name": "top-1"}]), "'unit' is missing"),
    (with_row(latency={"speedup": 2.0, "batch": 1, "interval_95": [0, 1]}), "interval from 0 to 1"),
    (with_row(latency={"speedup": 2.0, "batch": 1, "interval_95": [1]}), "it is damaged"),
]  # fmt: skip


@pytest.mark.parametrize(("plain", "why"), FOREIGN)
def test_what_is_foreign_newer_or_damaged_is_refused_in_one_sentence(plain, why, tmp_path):
    path = tmp_path / "main.json"
    path.write_text(json.dumps(plain))
    with pytest.raises(BaselineError, match=why) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "\x00", '{"form": "pytest-quant baseline"', "[" * 100_000]
)
def test_what_is_no_json_is_refused(text, tmp_path):
    (tmp_path / "main.json").write_text(text)
    with pytest.raises(BaselineError, match="cannot be read"):
        load("main", tmp_path)


@given(st.data())
def test_no_planted_value_makes_reading_fail_otherwise(data):
    """Whatever one value is replaced by: read, or refused in words."""
    plain = json.loads(baseline_of(stored_row(latency=latency_cells())).to_json())
    place = plain
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
        last, place = (place, key), place[key]
        if data.draw(st.booleans()):
            break
    last[0][last[1]] = data.draw(
        st.none() | st.booleans() | st.integers() | numbers | texts | st.just([]) | st.just({})
    )
    with contextlib.suppress(BaselineError):
        Baseline.from_dict(plain)


def test_environments_differ_in_what_decides_speed():
    other = ENVIRONMENT | {"cpu": "other", "threads": 2, "python": "3.14", "vnni": True}
    assert differences(ENVIRONMENT, ENVIRONMENT | {"python": "3.14"}) == []
    assert differences(ENVIRONMENT, other) == [
        "cpu CPU -> other",
        "vnni no -> yes",
        "threads 1 -> 2",
    ]
    assert differences({}, {"cores": 4}) == ["cores unknown -> 4"]


@pytest.mark.parametrize("value", [0.5, 1.0 + 1e-4, 0.0, -1.0])
def test_a_value_that_its_scores_do_not_give_is_refused(tmp_path, value):
    edited = stored_row()
    edited["metrics"][0]["value"] = value
    path = tmp_path / "main.json"
    path.write_text(baseline_of(edited).to_json())
    with pytest.raises(
        BaselineError, match=r"static of Net has top-1 .*, which is not what its scores"
    ):
        read(path)
