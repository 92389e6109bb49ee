"""Merging: parts of one run become one report, in any order; parts of two models never share a row."""

import itertools

import pytest
from builders import metric_cells, plain_row, plain_test, plain_verdict

from pytest_quant.report.document import Report
from pytest_quant.report.merging import merged
from pytest_quant.report.ship import may_ship

ENVIRONMENT = {"torch": "2.14.1", "engine": "x86", "cpu": "CPU", "commit": "a" * 40, "dirty": False}
SIZES = {"fp32": 400, "static": 100}
EVAL_SET = {"fingerprint": "aa", "samples": 200}
RECIPE = {"kind": "static", "observer": "histogram"}


def rows(model="Net", digest="d1", eval_set=EVAL_SET, recipe=RECIPE, value=0.9, size=True, **known):
    """FP32 and static: sizes, or accuracies."""
    found = []
    for variant in ("fp32", "static"):
        bytes_ = {"tensor_bytes": SIZES[variant], "file_bytes": None}
        part = (
            {"size": bytes_}
            if size
            else {"metrics": [metric_cells(value=value)], "eval_set": eval_set}
        )
        of = None if variant == "fp32" else recipe
        found.append(plain_row(model, variant, fp32_digest=digest, recipe=of, **part | known))
    return found


def part(test="t1", outcome="PASS", model="Net", environment=None, **known):
    """The report of one run of one test that judges static."""
    made = rows(model, **known)
    ended = "passed" if outcome == "PASS" else "failed"
    return Report(
        {k: v for k, v in (ENVIRONMENT | (environment or {})).items() if v is not None},
        made,
        [plain_verdict(made[1], outcome, test=test) | {"ended": ended}],
        tests=[plain_test(made[1], ended, nodeid=test)],
    )


def answer_of(*parts):
    """The answer of the merge, or the refusal; the same in every order of the parts."""
    found = set()
    for order in itertools.permutations([(f"{i}.json", part) for i, part in enumerate(parts)]):
        try:
            whole = merged(order)
        except ValueError as error:
            found.add((str(error).split("cannot be merged")[1], ""))
        else:
            assert may_ship(Report.from_dict(whole.to_dict())) == may_ship(whole)
            ship = may_ship(whole)
            found.add((str(ship.answer), "; ".join(sorted(ship.why))))
    ((answer, why),) = found
    return answer, why


def test_parts_of_one_run_are_one_row_and_a_yes():
    one, two = part("t1"), part("t2", size=False)
    whole = merged([("a.json", one), ("b.json", two)])
    _, static = whole.rows
    assert static.size.tensor_bytes == 100
    assert static.metrics[0].value == 0.9
    assert whole.environment == ENVIRONMENT
    assert (whole.notes, whole.mixed) == ([], [])
    assert answer_of(one, two) == ("yes", "Net: all 2 gates hold (static)")
    assert answer_of(one, two, part("t3"))[0] == "yes"


def test_what_two_parts_tell_alike_counts_once():
    one, two = part("t1"), part("t2", size=False)
    assert answer_of(one, one)[1] == "Net: its one gate holds (static)"
    one.verdicts *= 2  # of two subtests
    assert answer_of(one, two, one)[1] == "Net: all 3 gates hold (static)"
    failed = part("t1", "FAIL")
    assert len(merged([("a", one), ("b", failed)]).verdicts) == 3


def test_a_part_stays_what_it_was():
    one, two = part("t1"), part("t2", size=False)
    before = one.to_dict()
    merged([("a.json", one), ("b.json", two)])
    assert one.to_dict() == before


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"digest": "d2"}, "FP32's weights of Net (d1 in 0.json, d2 in 1.json)"),
        ({"recipe": RECIPE | {"observer": "mse"}},
         "recipe of Net static (observer histogram in 0.json, observer mse in 1.json)"),
        ({"environment": {"torch": "2.13.0"}}, "torch of Net (2.13.0 in 1.json, 2.14.1 in 0.json)"),
        ({"environment": {"engine": "onednn"}}, "engine of Net (onednn in 1.json, x86 in 0.json)"),
        ({"environment": {"commit": "b" * 40}},
         f"commit of Net ({'a' * 12} in 0.json, {'b' * 12} in 1.json)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [True, False])
def test_parts_of_one_model_that_differ_are_refused_and_named(other, said, size):
    with pytest.raises(ValueError, match="compare shows two side by side") as caught:
        merged([("0.json", part()), ("1.json", part("t2", size=size, **other))])
    assert said in str(caught.value)
    for many in (
        [part(), part("t2", size=size, **other)],
        [part(), part("t3"), part("t2", **other)],
    ):
        with pytest.raises(ValueError, match="cannot be merged"):
            merged([(f"{index}.json", each) for index, each in enumerate(many)][::-1])


def test_other_samples_are_refused_though_the_rows_are_of_two_variants():
    one, other = (
        part(f"t{name}", size=False, eval_set=EVAL_SET | {"fingerprint": name})
        for name in ("aa", "bb")
    )
    one.rows, other.rows = one.rows[1:], other.rows[:1]
    answer, _ = answer_of(one, other)
    assert "quant_eval_data of Net (200 samples, aa in 0.json, 200 samples, bb in 1.json)" in answer


def test_models_that_share_nothing_may_be_of_other_machines_but_not_of_other_commits():
    one, two = part(), part("t2", model="Own", digest="d2", environment={"torch": "2.13.0"})
    assert answer_of(one, two)[0] == "yes"
    assert (
        "b.json (Own) is of another environment" in merged([("a", one), ("b.json", two)]).notes[0]
    )
    two = part("t2", model="Own", digest="d2", environment={"commit": "b" * 40, "dirty": True})
    answer, why = answer_of(one, two)
    assert answer == "undecided"
    assert "its parts are of different commits" in why
    assert "commit" not in merged([("a", one), ("b.json", two)]).environment


def test_a_failure_is_a_no_whatever_else_does_not_fit():
    two = part("t2", "FAIL", model="Own", environment={"commit": "b" * 40})
    assert answer_of(part(), two)[0] == "no"


def test_what_was_measured_twice_and_differs_is_undecided():
    one, two = (part(f"t{value}", size=False, value=value) for value in (0.9, 0.8))
    answer, why = answer_of(one, two)
    assert answer == "undecided"
    assert "not the same in all tests: top-1 of static." in why


def test_without_a_digest_nobody_can_tell_and_the_answer_is_undecided():
    one, two = part(), part("t2", size=False, digest=None)
    answer, why = answer_of(one, two)
    assert answer == "undecided"
    assert "holds no digest of FP32's weights" in why
    assert answer_of(two)[0] == "yes"  # nothing was joined
    assert answer_of(one, part("t2", model="Own", digest=None))[0] == "yes"


def test_a_variant_that_could_not_be_made_says_nothing_of_weights():
    qat = plain_row(variant="qat", error="train ERROR: no data")
    told = [plain_test(qat, "error", "train ERROR: no data", nodeid="t9")]
    for tests in ([], told):  # of a script, and of a run
        assert answer_of(part(), Report(ENVIRONMENT, [qat], tests=tests))[0] == "no"
    told[0]["outcome"] = (
        "passed"  # it asked for another variant; --quant-all built this one besides
    )
    assert answer_of(part(), Report(ENVIRONMENT, [qat], tests=told))[0] == "yes"


def test_repos_without_git_are_joined_and_uncommitted_changes_are_told():
    none = {"commit": None, "dirty": None}
    assert answer_of(part(environment=none), part("t2", size=False, environment=none))[0] == "yes"
    assert answer_of(part(), part("t2", size=False, environment=none))[0] == "yes"
    dirty = part("t2", size=False, environment={"dirty": True})
    whole = merged([("a.json", part()), ("b.json", dirty)])
    assert whole.environment["dirty"] is True
    assert whole.notes == [
        "b.json was measured with changes that are in no commit, so nobody can tell whether the parts "
        "are of the same code"
    ]


def test_what_did_not_fit_once_does_not_fit_in_a_merge_of_merges():
    mixed = merged([("a", part()), ("b", part("t2", digest=None))])
    own = part("t3", model="Own", digest="d2")
    assert answer_of(mixed, own)[0] == "undecided"


def test_a_report_of_version_1_is_merged_and_its_answer_undecided():
    document = part("t2", size=False).to_dict() | {"version": 1}
    for row in document["rows"]:
        del row["fp32_digest"]
    del document["mixed"]
    earlier = Report.from_dict(document)
    assert earlier.notes[0].startswith(
        "the report was saved by an earlier version: it holds no digest"
    )
    assert answer_of(part(), earlier)[0] == "undecided"
