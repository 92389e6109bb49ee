"""Changes: what differs between two baselines, in numbers and in a cell's words."""

import json

import numpy as np
import pytest
from builders import latency_cells, measured_rows, metric_cells, plain_row, plain_verdict

from pytest_quant.baseline.baseline import Baseline
from pytest_quant.baseline.change_words import cell_of, is_change, summary_of
from pytest_quant.baseline.changes import changes_between, changes_by_row, since
from pytest_quant.baseline.packing import pack_scores
from pytest_quant.baseline.row import Row
from pytest_quant.report.baselines import Gathered, report_of
from pytest_quant.report.document import Report
from pytest_quant.report.frame import frame_of
from pytest_quant.report.markdown import markdown_of
from pytest_quant.report.terminal import summary_lines
from pytest_quant.variant.key import RowKey

ENVIRONMENT = {
    "torch": "2.15.0", "engine": "x86", "threads": 1, "cpu": "CPU", "isa": "AVX2", "vnni": False,
    "cores": 2, "system": "Linux",
}  # fmt: skip
EVAL_SET = {"fingerprint": "aa", "samples": 200}


def of(*rows, name="main", **environment):
    """A baseline of these rows, without scores unless a row has some."""
    scores = {RowKey.of(row): row.pop("scores") for row in map(dict, rows) if "scores" in row}
    kept = tuple(Row.from_dict(row) for row in rows)
    return Baseline(name, ENVIRONMENT | environment, kept, scores, {})


def row(value=0.94, *, bytes=1_000, share=0.9, **known):
    size = {"tensor_bytes": bytes, "file_bytes": None}
    int8 = {"parameters": share, "macs": None, "stayed_fp32": []}
    return plain_row(
        **{
            "metrics": [metric_cells(value=value)],
            "size": size,
            "int8_share": int8,
            "eval_set": EVAL_SET,
        }
        | known
    )


def cell(before, now, line=0, **environment):
    """What the table says of the only variant."""
    (change,) = changes_between(of(before), of(now, **environment))
    return cell_of(change, line)


def test_what_is_equal_is_one_sign():
    assert cell(row(), row()) == "="
    assert cell(row(latency=latency_cells()), row(latency=latency_cells(1.99))) == "="


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (row(0.9363), "acc -0.37 pt"),
        (row(0.9437), "acc +0.37 pt"),
        (row(0.94001), "acc +0.001 pt"),
        (row(bytes=1012), "size +1.2 %"),
        (row(bytes=500), "size -50.0 %"),
        (row(share=0.869), "int8 -3.10 pt"),
        (row(0.9363, bytes=1012), "acc -0.37 pt, size +1.2 %"),
    ],
)
def test_a_difference_is_shown_with_its_sign(now, words):
    assert cell(row(), now) == words


def test_a_share_of_the_multiply_adds_that_fell_is_shown_too():
    def share(macs):
        return {"parameters": 0.9, "macs": macs, "stayed_fp32": []}

    assert cell(row(int8_share=share(0.5)), row(int8_share=share(0.4))) == "int8 of MACs -10.00 pt"


@pytest.mark.parametrize(
    ("name", "unit", "before", "now", "words"),
    [
        ("iou", "fraction", 0.5, 0.45, "iou -5.00 pt"),
        ("loss", "raw", 0.5, 0.625, "loss +0.125"),
        ("perplexity", "perplexity", 10.0, 10.2, "perplexity +2.00 %"),
    ],
)
def test_each_unit_has_its_words(name, unit, before, now, words):
    old, new = (row(metrics=[metric_cells(name, value, unit=unit)]) for value in (before, now))
    assert cell(old, new) == words


def test_equal_accuracy_with_other_samples_right_is_no_equality():
    a, b = np.ones(200), np.ones(200)
    a[:2], b[3:5] = 0, 0
    old, new = (row(scores={"top-1": pack_scores(scores)}) for scores in (a, b))
    assert cell(old, new) == "acc 4 flips"
    assert cell(old, old) == "="


def test_each_metric_has_its_line_and_size_stands_in_the_first():
    old = row(metrics=[metric_cells(value=0.9), metric_cells("loss", 0.5, unit="raw")])
    new = row(metrics=[metric_cells(value=0.9), metric_cells("loss", 0.6, unit="raw")], bytes=2_000)
    (change,) = changes_between(of(old), of(new))
    assert [cell_of(change, line) for line in (0, 1)] == ["size +100.0 %", "loss +0.1"]
    assert summary_of(change) == "size +100.0 %, loss +0.1"


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ([1.9, 2.1], [1.9, 2.1], "="),
        ([1.9, 2.1], [1.5, 1.7], "speed-up 2.00x -> 1.60x"),
        ([1.5, 1.7], [1.9, 2.1], "speed-up 1.60x -> 2.00x"),
        ([1.9, 2.1], [1.5, 1.89], "="),  # less apart than two processes are
        (None, [1.5, 1.7], "="),
    ],
)
def test_speed_ups_differ_only_as_far_as_their_intervals_show(before, now, words):
    old, new = (
        row(latency=latency_cells(sum(ends or (0, 4)) / 2, interval_95=ends))
        for ends in (before, now)
    )
    assert cell(old, new) == words


def test_speed_ups_of_two_machines_or_batches_are_not_compared():
    fast, slow = row(latency=latency_cells(9.0)), row(latency=latency_cells(2.0))
    assert cell(fast, slow) == "speed-up 9.00x -> 2.00x"
    assert cell(fast, slow, threads=2) == "="
    assert cell(row(latency=latency_cells(9.0, batch=1)), slow) == "="
    remarks = since(of(fast), of(slow, threads=2))["remarks"]
    assert remarks == [
        "main is of another environment (threads 1 -> 2): speed-ups are not compared"
    ]


def test_milliseconds_are_never_compared():
    assert cell(row(latency=latency_cells()), row(latency=latency_cells(fp32_ms=800.0))) == "="


@pytest.mark.parametrize("samples", [200, 7])
def test_accuracy_on_another_eval_set_is_not_compared_and_both_are_named(samples):
    now = row(0.5, eval_set={"fingerprint": "bb", "samples": samples})
    assert cell(row(), now) == "other eval set"
    (remark,) = since(of(row()), of(now))["remarks"]
    assert remark == (
        "Net static: accuracy is not compared with main's, since quant_eval_data is another "
        f"({samples} samples, fingerprint bb now, 200 samples, fingerprint aa then)"
    )


def test_a_part_of_the_eval_set_says_nothing_of_the_whole():
    part = row(metrics=[metric_cells(value=0.1, samples=50, of=200)], eval_set=None)
    assert cell(row(), part) == "="  # in size and share


def test_what_was_not_measured_on_both_sides_is_not_compared():
    empty = plain_row()
    assert cell(row(), empty) == "top-1 not measured, size not measured, int8 share not measured"
    assert cell(empty, row()) == "-"
    less = cell(row(), plain_row(metrics=[metric_cells(value=0.94)]))
    assert less == "size not measured, int8 share not measured"
    assert cell_of(None) == "-"


def test_variants_of_one_side_only_are_named():
    a, b, c = (row(variant=name) for name in ("static", "qat", "own"))
    changed = since(of(a, b), of(a, c))
    assert [(c["variant"], cell_of(c)) for c in changed["changes"]] == [
        ("static", "="), ("own", "new"), ("qat", "gone"),
    ]  # fmt: skip
    assert changed["remarks"] == ["not in main: Net own", "in main and not here: Net qat"]
    assert [is_change(c) for c in changed["changes"]] == [False, True, True]


def test_models_of_one_name_are_told_apart_by_their_place():
    here, there = row(where="a"), row(where="b", bytes=2_000)
    assert cell_of(changes_between(of(here, there), of(here, there))[1]) == "="
    assert since(of(here), of(there))["remarks"][0] == "not in main: Net (b) static"


def test_another_recipe_under_the_same_name_is_named():
    old, new = (row(recipe={"kind": "static", "observer": each}) for each in (None, "minmax"))
    assert since(of(old), of(new))["remarks"] == [
        "Net static: recipe changed since main: observer default -> minmax"
    ]


def test_a_report_compared_with_itself_has_no_change():
    report = Report(ENVIRONMENT, measured_rows())
    baseline = Gathered().baseline("main", report)
    assert not any(is_change(change) for change in since(baseline, baseline)["changes"])
    again = Gathered().baseline("main", report_of(baseline))
    assert again == baseline


def compared():
    report = Report(ENVIRONMENT, measured_rows())
    before = measured_rows()
    before[1]["size"]["tensor_bytes"] = 1_000_000
    old = Gathered().baseline("main", Report(ENVIRONMENT, before))
    report.since = since(old, Gathered().baseline("now", report))
    return report


def test_the_table_the_page_and_the_frame_have_a_column_since():
    report = compared()
    frame = frame_of(report)
    assert frame["since main"].tolist() == ["=", "size +25.0 %"]
    text = "\n".join(summary_lines(report, "simple"))
    assert "since main" in text
    assert "size +25.0 %" in text
    assert "size +25.0 %" in markdown_of(report)
    assert "since" not in frame_of(Report(ENVIRONMENT, measured_rows())).columns


def test_the_comparison_is_part_of_the_report():
    report = compared()
    again = Report.from_dict(json.loads(report.to_json()))
    assert again.since == report.since
    assert cell_of(changes_by_row(again.since)[again.rows[1].key]) == "size +25.0 %"


def test_a_baselines_name_stays_text_in_markdown():
    report = compared()
    report.since["changes"][1]["metrics"][0] |= {"name": "a|b<i>", "unit": "raw", "value": [1, 2]}
    assert "a|b<i>" not in markdown_of(report)


# limits


def judged(*limits, gate="max_accuracy_drop"):
    """A baseline whose only variant was judged by these limits."""
    verdicts = [
        {"where": "", "model": "Net", "variant": "static", "gate": gate, "quantity": "accuracy",
         "metric": "top-1", "outcome": "PASS", "test": "t", "limit": limit, "observed": 0.0}
        for limit in limits
    ]  # fmt: skip
    made = of(row(variant="static"))
    return Baseline(made.name, made.environment, made.rows, {}, {}, tuple(verdicts))


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ((0.05,), (0.05,), "="),
        ((0.05, 0.05), (0.05,), "="),
        ((0.05,), (0.9,), "max_accuracy_drop 0.05 -> 0.9"),
        ((0.05,), (0.01,), "max_accuracy_drop 0.05 -> 0.01"),
        ((0.05,), (), "max_accuracy_drop 0.05 -> no gate"),
        ((0.05,), (0.05, 0.9), "="),
        ((0.05, 0.1), (0.1,), "max_accuracy_drop 0.05, 0.1 -> 0.1"),
    ],
)
def test_another_limit_and_a_gate_that_is_gone_are_changes(before, now, words):
    (change,) = changes_between(judged(*before), judged(*now))
    assert cell_of(change) == words
    assert is_change(change) == (words != "=")


def test_a_file_without_gates_tells_nothing_of_limits_and_says_so():
    changed = since(judged(), judged(0.9))
    assert [cell_of(each) for each in changed["changes"]] == ["="]
    assert "main holds no gates, so limits are not compared" in changed["remarks"]


def test_another_metric_is_a_change():
    now = row(metrics=[metric_cells(name="top-2", value=0.94)])
    assert cell(row(), now) == "top-1 not measured"


def test_what_fp32_lost_is_said_first():
    before = of(row(0.94, variant="fp32"), row(0.93, variant="static"))
    now = of(row(0.64, variant="fp32"), row(0.63, variant="static"), threads=2)
    first, *others = since(before, now)["remarks"]
    assert first == "Net fp32 itself changed since main: acc -30.00 pt"
    assert others


def fp32(value=0.94, digest="d1", **known):
    return row(value, variant="fp32", fp32_digest=digest, **known)


def test_other_weights_are_said_before_all_else_and_are_a_change():
    now = of(fp32(digest="d2"), row(0.93, fp32_digest="d2"), threads=2)
    changed = since(of(fp32(), row(0.94, fp32_digest="d1")), now)
    assert changed["remarks"][0] == "FP32's weights changed since main: Net"
    assert [cell_of(each) for each in changed["changes"]] == ["other weights", "acc -1.00 pt"]
    moved = since(of(fp32()), of(fp32(0.84, digest="d2")))["remarks"]
    assert moved[:2] == [
        "FP32's weights changed since main: Net",
        "Net fp32 itself changed since main: acc -10.00 pt",
    ]


def test_the_same_weights_with_other_scores_are_told():
    (remark,) = since(of(fp32()), of(fp32(0.84)))["remarks"]
    assert remark == (
        "Net fp32 itself changed since main, though its weights are the same: acc -10.00 pt"
    )


def test_without_digests_nothing_is_said_of_weights():
    for digests in ((None, "d2"), ("d1", None)):
        before, now = (of(fp32(digest=digest)) for digest in digests)
        assert since(before, now)["remarks"] == []


def earlier(*rows, verdicts=()):
    """A baseline as version 1 wrote it."""
    plain = of(*rows).to_dict() | {"version": 1, "verdicts": [*verdicts]}
    for each in plain["rows"]:
        for name in ("fp32_digest", "model_ids", "variant_ids"):
            each.pop(name, None)
    return Baseline.from_dict(json.loads(json.dumps(plain)))


def test_version_1_is_matched_by_place_model_and_variant_and_what_it_lacks_is_said():
    old = earlier(fp32(), row(0.94))
    changed = since(old, of(fp32(), row(0.90, fp32_digest="d1"), name="now"))
    assert changed["remarks"] == [
        "main was saved by an earlier version: it holds no limits and no digest of FP32's weights, so a "
        "changed limit or checkpoint cannot be told",
        "Net fp32, Net static: accuracy is not compared with main's, since an earlier version saved main, "
        "which told samples apart by other digests than now: save it anew",
    ]
    assert [cell_of(each) for each in changed["changes"]] == ["samples unknown"] * 2
    judged_then = earlier(row(), verdicts=[plain_verdict(row())])
    remark, _ = since(judged_then, of(row()))["remarks"]
    assert remark.endswith(
        "it holds no digest of FP32's weights, so a changed checkpoint cannot be told"
    )
    assert since(of(fp32(), row(), name="v2"), old)["remarks"] == [
        changed["remarks"][0],
        "Net fp32, Net static: accuracy is not compared with v2's, since an earlier version saved main, "
        "which told samples apart by other digests than v2: save it anew",
    ]


def test_samples_of_version_2_are_compared_with_those_of_version_2_alone():
    """Until then their digests were BLAKE2b; equal ones of two versions would mean nothing."""

    def by_version(number, value):
        return Baseline.from_dict(
            of(row(value)).to_dict() | {"version": number, "name": f"v{number}"}
        )

    old, new = by_version(2, 0.94), by_version(3, 0.90)
    for before, now in ((old, new), (new, old)):
        (change,) = since(before, now)["changes"]
        assert cell_of(change) == "samples unknown"
        assert not change["metrics"][0]["comparable"]
        (remark,) = since(before, now)["remarks"]
        assert (
            "since an earlier version saved v2, which told samples apart by other digests" in remark
        )
    (change,) = since(old, by_version(2, 0.90))["changes"]
    assert cell_of(change) == "acc -4.00 pt"


def test_ids_of_parameters_are_left_out_for_version_1_where_only_one_can_be_meant():
    def named(ids, value=0.94):
        return row(value, model_ids=ids)

    (change,) = since(earlier(row()), of(named("small", 0.84)))["changes"]
    assert cell_of(change) == "samples unknown"
    assert change["model_ids"] == "small"
    changes = since(earlier(row()), of(named("small"), named("large", 0.5)))["changes"]
    assert [each["status"] for each in changes] == ["new", "new", "gone"]
    changes = since(of(row()), of(named("small")))["changes"]  # version 2 tells them apart
    assert [each["status"] for each in changes] == ["new", "gone"]


def test_a_digest_of_values_matches_another_one_where_only_one_can_be_meant():
    """A store of one's own, whose checkpoint is another one now."""

    def valued(ids, value=0.94):
        return row(value, model_ids=ids)

    (change,) = since(of(valued("#a")), of(valued("#b", 0.84)))["changes"]
    assert cell_of(change) == "acc -10.00 pt"
    changes = since(of(valued("#a"), row()), of(row(), valued("#b")))["changes"]
    assert [cell_of(each) for each in changes] == ["=", "="]
    changes = since(of(valued("#a"), valued("#b")), of(valued("#b"), valued("#c")))["changes"]
    assert [each["status"] for each in changes] == ["known", "known"]
    changes = since(of(valued("#a")), of(valued("#b"), valued("#c")))["changes"]
    assert [each["status"] for each in changes] == ["new", "new", "gone"]
    changes = since(of(row()), of(valued("#b")))["changes"]  # of fixtures, and of a store
    assert [each["status"] for each in changes] == ["new", "gone"]
