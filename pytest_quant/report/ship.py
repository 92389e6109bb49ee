"""Ship: may the models ship? Read off how the tests ended; nothing is judged here."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pytest_quant.report.doubts import doubts_on
from pytest_quant.report.part_of_tests import lacking_in, remarks_on
from pytest_quant.report.told import Told
from pytest_quant.variant.key import ModelKey, RowKey

if TYPE_CHECKING:
    from pytest_quant.report.document import Report

# Outcomes of tests that go on after a gate: a FAIL in these was caught or marked, hence meant.
MEANT = ("passed", "inconclusive", "xfailed", "xpassed")
NOTHING = "no gate has judged a quantized variant"
NONE_HOLDS = "no quantized variant holds all its limits"


class Answer(StrEnum):
    """Whether a model may ship; what is not proven either way is undecided."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class MayShip:
    """The answer, and why.

    Args:
        answer: yes, no or undecided.
        why: what holds, of a yes; else every reason against it, those for a no first.
        expected: gates that FAIL in tests that passed all the same, or are marked xfail.
        skipped: tests of variants, and files of tests, that did not run.
        remarks: what must be known besides: of which part of the tests the run was, what was skipped,
            and failed tests of no variant, which say nothing against a model.
    """

    answer: Answer
    why: tuple[str, ...]
    expected: tuple[str, ...] = ()
    skipped: int = 0
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "answer": str(self.answer),
            "why": list(self.why),
            "expected": list(self.expected),
            "skipped": self.skipped,
            "remarks": list(self.remarks),
        }


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """The answer on one model.

    Args:
        answer: on it.
        reasons: what holds, of a yes; else every reason against it but what the run as a whole lacks.
        lacking: why verdicts may be missing.
        expected: gates that FAIL as expected.
        skipped: tests of its variants that did not run.
    """

    answer: Answer
    reasons: tuple[str, ...]
    lacking: tuple[str, ...]
    expected: tuple[str, ...]
    skipped: int

    @property
    def all_reasons(self) -> tuple[str, ...]:
        """With what the run as a whole lacks."""
        return (*self.reasons, *self.lacking)

    def named(self, texts: Iterable[str], name: str) -> list[str]:
        """Texts that stand on their own, with the model's name."""
        return [f"{name}: {text}" for text in texts]

    def to_may_ship(self, name: str) -> MayShip:
        """For other programs, with the model's name in each reason."""
        why = tuple(self.named(self.all_reasons, name))
        return MayShip(self.answer, why, tuple(self.named(self.expected, name)), self.skipped)


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one verdict or test says of a model (None: of which, is not known)."""

    key: ModelKey | None
    answer: Answer | None  # None: a FAIL that was expected
    text: str


def may_ship(report: "Report", told: Told | None = None) -> MayShip:
    """The answer on the run: no if no to any model; yes if yes to each of them.

    A FAIL of a test that did not pass, a failed test and an error are reasons for no. An
    INCONCLUSIVE, a stopped run, and a model of which no quantized variant was judged leave it
    undecided.

    Args:
        report: of the run.
        told: sentences that a reader has had, which are then told by name; None tells each in full.
    """
    each, names = model_answers(report, told), report.model_names()
    findings = [finding for finding in _findings(report, told) if finding.key is None]
    no, undecided = _texts(findings, Answer.NO), _texts(findings, Answer.UNDECIDED)
    held: list[str] = []
    for key, one in each.items():
        lists = {Answer.NO: no, Answer.UNDECIDED: undecided, Answer.YES: held}
        lists[one.answer] += one.named(one.reasons, names.get(key, key.model))
    undecided += lacking_in(report)
    if not (each or no or undecided):
        undecided.append(NOTHING)
    answer = Answer.NO if no else Answer.UNDECIDED if undecided else Answer.YES
    return MayShip(
        answer,
        _once(no + undecided if no or undecided else held),
        _once(
            [
                text
                for key, one in each.items()
                for text in one.named(one.expected, names.get(key, key.model))
            ]
        ),
        sum(test["outcome"] == "skipped" for test in report.tests),
        tuple(remarks_on(report)),
    )


def may_ship_each(report: "Report") -> dict[ModelKey, MayShip]:
    """The answer on each model of the report, each reason with the model's name."""
    names = report.model_names()
    return {
        key: one.to_may_ship(names.get(key, key.model))
        for key, one in model_answers(report).items()
    }


def model_answers(report: "Report", told: Told | None = None) -> "dict[ModelKey, ModelAnswer]":
    """The answer on each model of the report, as facts; `told` as in `may_ship`."""
    found: dict[ModelKey, list[_Finding]] = {key: [] for key in _models(report)}
    for finding in _findings(report, told):
        if finding.key is not None:
            found.setdefault(finding.key, []).append(finding)
    passed, skipped, lacking = _passed(report), _skipped(report), lacking_in(report)
    doubts = doubts_on(report)
    return {
        key: _answer(findings, passed.get(key), skipped.get(key, 0), lacking, doubts.get(key, {}))
        for key, findings in found.items()
    }


def _answer(
    findings: list[_Finding],
    passed: dict[str, int] | None,
    skipped: int,
    lacking: tuple[str, ...],
    doubts: Mapping[str, str],
) -> ModelAnswer:
    expected = _once([finding.text for finding in findings if not finding.answer])
    no, undecided = _texts(findings, Answer.NO), _texts(findings, Answer.UNDECIDED)
    variants = [variant for variant in passed or () if variant != "fp32"]
    if not (variants or no or undecided or lacking):
        undecided.append(NONE_HOLDS if expected else NOTHING)
    if no or undecided or lacking:
        answer = Answer.NO if no else Answer.UNDECIDED
        return ModelAnswer(answer, _once(no + undecided), lacking, expected, skipped)
    count = sum((passed or {}).values())
    gates = "its one gate holds" if count == 1 else f"all {count} gates hold"
    named = (f"{each}, {doubts[each]}" if each in doubts else each for each in variants)
    held = (f"{gates} ({', '.join(named)})",)
    return ModelAnswer(Answer.YES, held, lacking, expected, skipped)


def _models(report: "Report") -> list[ModelKey]:
    """Those to answer on."""
    return list(report.model_names())


def endings(report: "Report") -> list[str | None]:
    """Of each verdict, how the very report of a test ended that carried it; None where no test did.

    Files from before version 2 tell only how the test ended.
    """
    outcomes = {test["nodeid"]: test["outcome"] for test in report.tests}
    return [
        verdict["ended"] if "ended" in verdict else outcomes.get(verdict["test"])
        for verdict in report.verdicts
    ]


def is_expected(verdict: Mapping[str, Any], ended: str | None) -> bool:
    """Whether a verdict is a FAIL that its test has caught, or is marked to have."""
    return verdict["outcome"] == "FAIL" and ended in MEANT


def _findings(report: "Report", told: Told | None) -> Iterator[_Finding]:
    blamed = set()
    for place, (verdict, how) in enumerate(zip(report.verdicts, endings(report), strict=True)):
        key, sentence = RowKey.of(verdict).of_model, verdict["sentence"]
        if is_expected(verdict, how):
            yield _Finding(key, None, sentence)
            continue
        if told is not None and verdict["outcome"] != "PASS":
            name = f"{verdict['quantity']} {verdict['outcome']} of {verdict['variant']}"
            sentence = told.once(sentence, name, f"verdict {place}")
        if verdict["outcome"] == "FAIL" and how == "skipped":
            yield _Finding(key, Answer.UNDECIDED, f"{sentence} (its test was then skipped)")
        elif verdict["outcome"] == "FAIL":
            blamed.add(verdict["test"])
            yield _Finding(key, Answer.NO, sentence)
        elif verdict["outcome"] == "INCONCLUSIVE" and how != "xfailed":
            yield _Finding(key, Answer.UNDECIDED, sentence)
    for test in report.tests:
        if test["outcome"] == "error" or (
            test["outcome"] == "failed" and test["nodeid"] not in blamed
        ):
            reason = test.get("reason") or ""
            if told is not None and reason:
                reason = told.once(reason, "", f"test {test['nodeid']}")
            text = f"{test['nodeid']} {_WORDS[test['outcome']]}{f': {reason}' if reason else ''}"
            models = _models_of(test)
            yield from (_Finding(key, Answer.NO, text) for key in models)
            if not models:
                yield _Finding(None, Answer.NO, text)
    yield from _unjudged(report)
    for mixed in report.mixed:
        of = None if mixed["model"] is None else ModelKey.of(mixed)
        yield _Finding(of, Answer.UNDECIDED, mixed["text"])
    looked_at = {RowKey.of(part) for test in report.tests for part in test["variants"]}
    for row in report.rows:  # of a script: no test tells of what could not be made
        if row.error and row.key not in looked_at:
            text = f"{row.variant}: {row.error}"
            if told is not None and told.once(row.error, "", f"row {row.key}") == "":
                text = f"{row.variant} could not be built"
            yield _Finding(row.key.of_model, Answer.NO, text)


def _unjudged(report: "Report") -> Iterator[_Finding]:
    """Limits that are stated for the tests of a model, and that no gate on a variant of it judged."""
    judged: dict[ModelKey, set[str]] = {}
    for verdict in report.verdicts:
        if verdict["variant"] != "fp32":
            judged.setdefault(RowKey.of(verdict).of_model, set()).add(verdict["gate"])
    stated: dict[ModelKey, dict[str, float]] = {}
    for test in report.tests:
        for key in _models_of(test):
            stated.setdefault(key, {}).update(test.get("limits") or {})
    for key, gates in judged.items():
        left = [
            f"{name}={value:g}" for name, value in stated.get(key, {}).items() if name not in gates
        ]
        if left:
            yield _Finding(
                key,
                Answer.UNDECIDED,
                f"no gate judged {', '.join(left)}, though a marker, the command line or ini states it: "
                "assert_gates(variant) judges all stated limits",
            )


_WORDS = {"error": "could not be run", "failed": "failed"}


def _models_of(test: dict[str, Any]) -> list[ModelKey]:
    keys = (
        ModelKey(part["where"], part["model"], part.get("model_ids", ""))
        for part in test["variants"]
    )
    return list(dict.fromkeys(key for key in keys if None not in key))


def _passed(report: "Report") -> dict[ModelKey, dict[str, int]]:
    """For each model how many gates passed on each variant, but for those that also FAIL one."""
    found: dict[ModelKey, dict[str, int]] = {}
    for verdict in report.verdicts:
        counts = found.setdefault(RowKey.of(verdict).of_model, {})
        if verdict["outcome"] == "PASS":
            counts[verdict["variant"]] = counts.get(verdict["variant"], 0) + 1
    for verdict in report.verdicts:
        if verdict["outcome"] != "PASS":
            found[RowKey.of(verdict).of_model].pop(verdict["variant"], None)
    return found


def _skipped(report: "Report") -> dict[ModelKey, int]:
    found: dict[ModelKey, int] = {}
    for test in report.tests:
        if test["outcome"] == "skipped":
            for key in _models_of(test):
                found[key] = found.get(key, 0) + 1
    return found


def _texts(findings: list[_Finding], answer: Answer) -> list[str]:
    return [finding.text for finding in findings if finding.answer is answer]


def _once(texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
