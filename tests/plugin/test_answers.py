"""Over what may come together in runs and merges: "may ship: yes" never meets a failure of a test with a
variant, never an unjudged limit, never a part of the tests, and never depends on the order.

Worlds are made up of tests with tries, workers, phases and subtests, spread over parts that are merged.
What must hold is read off the world, not off the report.
"""

import random
from dataclasses import dataclass, field
from types import SimpleNamespace

from builders import plain_row, plain_verdict
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from pytest_quant.plugin.outcomes import take_in
from pytest_quant.report.document import Report
from pytest_quant.report.merging import merged
from pytest_quant.report.ship import may_ship
from pytest_quant.variant.key import RowKey

GATES = ("max_size_ratio", "max_accuracy_drop")
VARIANTS = ("static", "dynamic")


@dataclass
class Said:
    """What a phase, or a subtest, tells: how it ended, and the verdicts that its gates gave."""

    when: str
    outcome: str  # passed, failed, skipped, xfailed, xpassed, inconclusive
    verdicts: tuple[tuple[str, str, str], ...] = ()  # variant, gate, outcome


@dataclass
class OneTest:
    """A test and its tries on each worker that runs it; all but the last announce another one."""

    nodeid: str
    model: str | None
    tries: list[list[list[Said]]]  # by worker, by try
    limits: dict[str, float] = field(default_factory=dict)
    deselected: bool = False


@dataclass
class Part:
    """A run of some of the tests, which is merged with others."""

    tests: list[OneTest]
    digests: dict[str, str | None]
    commit: str | None
    interrupted: bool = False
    selected: list[str] = field(default_factory=list)


# What may come in a world: of a gate, of a test that a FAIL or an INCONCLUSIVE went through, of another
# one, and of set-up and teardown. In a calm one nothing fails, in a meant one all that fails is expected.
CALM = (["PASS"], [], [], ["passed"], ["passed"])
MEANT = (["PASS", "FAIL"], ["passed", "passed", "xfailed", "skipped"], [], ["passed"], ["passed"])
WILD = (
    [*["PASS"] * 4, "FAIL", "INCONCLUSIVE"],
    ["failed", "failed", "passed", "xfailed", "skipped"],
    ["inconclusive", "inconclusive", "failed", "xfailed"],
    [*["passed"] * 8, "failed", "skipped", "xpassed"],
    [*["passed"] * 16, "failed"],
)


@st.composite
def said(draw, mood):
    """A call, or a part of one, with the verdicts of its gates."""
    gate, breached, open_, other, _ = mood
    verdicts = tuple(
        (
            draw(st.sampled_from(("fp32", *VARIANTS))),
            draw(st.sampled_from(GATES)),
            draw(st.sampled_from(gate)),
        )
        for _ in range(draw(st.integers(0, 2)))
    )
    outcomes = {outcome for _, _, outcome in verdicts}
    ends = breached if "FAIL" in outcomes else open_ if "INCONCLUSIVE" in outcomes else other
    return Said("call", draw(st.sampled_from(ends)), verdicts)


@st.composite
def tries(draw, mood):
    """The tries of a test on one worker."""
    made = []
    count = draw(st.sampled_from((1, 1, 2)))
    for number in range(count):
        setup = draw(st.sampled_from(mood[-1]))
        phases = [Said("setup", setup)]
        if setup == "passed":
            phases += [draw(said(mood)) for _ in range(draw(st.integers(1, 3)))]
        if number < count - 1:  # which is why there is another try
            phases.append(Said("call", "failed", (("static", GATES[0], "FAIL"),)))
        made.append([*phases, Said("teardown", draw(st.sampled_from(mood[-1])))])
    return made


@st.composite
def worlds(draw):
    """Parts to be merged, with at most one thing that makes them no whole."""
    spoilt = draw(st.sampled_from((None, "digest", "commit", "stopped", "selected", "left")))
    mood = draw(st.sampled_from((CALM, CALM, MEANT, WILD)))
    tests = []
    for index in range(draw(st.integers(1, 4))):
        workers = draw(st.sampled_from((1, 1, 2)))  # as with --dist=each
        model = draw(st.sampled_from(("Net", "Net", "Own", None)))
        stated = draw(st.lists(st.sampled_from(GATES), max_size=1))
        tests.append(
            OneTest(
                f"t{index}",
                model,
                [draw(tries(mood)) for _ in range(workers)],
                dict.fromkeys(stated, 0.5),
            )
        )
    count = draw(st.integers(1 + (spoilt in ("digest", "commit")), 3))

    def some(what, usual, *others):
        return draw(st.sampled_from([usual, usual, *others])) if spoilt == what else usual

    parts = [
        Part(
            [],
            {name: some("digest", "d1", "d2", None, None) for name in ("Net", "Own")},
            some("commit", "c1", "c2", None),
            some("stopped", False, True),
            some("selected", [], ["t0"]),
        )
        for _ in range(count)
    ]
    for test in tests:
        parts[draw(st.integers(0, count - 1))].tests.append(test)
        test.deselected = some("left", False, True)
    return parts


def reports_of(test, digest):
    """The reports of pytest, as the plugin has marked them; in the order of each worker."""
    for worker in test.tries:
        for number, phases in enumerate(worker):
            for each in phases:
                is_last = number == len(worker) - 1
                yield report_of(test, each, digest, is_last)


def report_of(test, said, digest, is_last):
    outcome = {"xfailed": "skipped", "xpassed": "passed", "inconclusive": "skipped"}.get(
        said.outcome, said.outcome
    )
    report = SimpleNamespace(
        nodeid=test.nodeid,
        when=said.when,
        outcome=outcome if is_last or outcome != "failed" else "rerun",
        longrepr="why",
    )
    for name in ("passed", "failed", "skipped"):
        setattr(report, name, report.outcome == name)
    if said.outcome in ("xfailed", "xpassed"):
        report.wasxfail = "meant"
    if said.outcome == "inconclusive":
        report.quant_inconclusive = True
    if test.model is None:
        return report
    keys = {variant: RowKey("", test.model, variant) for variant in ("fp32", *VARIANTS)}
    report.quant_variants = [keys[name].to_dict() for name in ("fp32", "static")]
    report.quant_limits = test.limits
    if said.when == "call":
        looked_at = dict.fromkeys(["fp32", *(variant for variant, _, _ in said.verdicts)])
        size = {"tensor_bytes": 8, "file_bytes": None}
        rows = [plain_row(test.model, name, fp32_digest=digest, size=size) for name in looked_at]
        verdicts = [
            plain_verdict(keys[variant].to_dict(), outcome, gate=gate, test=test.nodeid)
            for variant, gate, outcome in said.verdicts
        ]
        report.quant = {"rows": rows, "verdicts": verdicts, "environment": {}}
    return report


def run_of(part, shuffled):
    """The report of one part; what its tests say comes in any order."""
    environment = {} if part.commit is None else {"commit": part.commit}
    whole = Report(environment, interrupted=part.interrupted, selected=[*part.selected])
    told = []
    for test in part.tests:
        if test.deselected:
            if test.model is not None:
                whole.deselected.append(test.nodeid)
            continue
        told += reports_of(test, part.digests.get(test.model))
    shuffled.shuffle(told)
    for report in told:
        take_in(whole, report)
    return whole


def answer_of(parts, shuffled):
    """The answer of the merge; None where it is refused."""
    order = [(f"{index}.json", run_of(part, shuffled)) for index, part in enumerate(parts)]
    shuffled.shuffle(order)
    try:
        whole = merged(order)
    except ValueError:
        return None
    ship = may_ship(whole)
    assert may_ship(Report.from_json(whole.to_json())) == ship
    return str(ship.answer)


def ran(part):
    """The tests of a part that ran and that are of a variant."""
    return [test for test in part.tests if test.model is not None and not test.deselected]


def told(test):
    """All that counts of a test: the last try, and what an earlier one had said before it failed."""
    return [each for worker in test.tries for each in worker[-1]] + [
        each
        for worker in test.tries
        for number in range(len(worker) - 1)
        for each in worker[number]
        if each.outcome != "failed"
    ]


def why_not(parts):
    """Why a world is no yes; nothing where all that was stated is proven."""
    tests = [test for part in parts for test in ran(part)]
    for part in parts:
        if part.interrupted or part.selected:
            yield "of a part"
        if any(test.deselected and test.model is not None for test in part.tests):
            yield "deselected"
    if len({part.commit for part in parts} - {None}) > 1:
        yield "two commits"
    if any(each.outcome == "failed" for test in tests for each in told(test)):
        yield "failed"
    measured = {test.model for test in tests if any(each.when == "call" for each in told(test))}
    if not measured:
        yield "nothing"
    for model in measured:
        own = [test for test in tests if test.model == model]
        yield from why_not_of(own)
        digests = [part.digests[model] for part in parts if any_call(part, model)]
        if len({*digests} - {None}) > 1:
            yield "two checkpoints"
        elif len(digests) > 1 and None in digests:
            yield "a checkpoint that nobody knows"


def any_call(part, model):
    return any(
        each.when == "call" for test in ran(part) if test.model == model for each in told(test)
    )


def why_not_of(tests):
    """Of one model: every stated limit is judged, nothing is open, and one variant holds all of its own."""
    verdicts = [
        (variant, gate, outcome, each.outcome)
        for test in tests
        for each in told(test)
        for variant, gate, outcome in each.verdicts
        if each.when == "call"
    ]
    judged = {gate for variant, gate, _, _ in verdicts if variant != "fp32"}
    if any(limit not in judged for test in tests for limit in test.limits):
        yield "unjudged limit"
    for _, _, outcome, ended in verdicts:
        if outcome == "INCONCLUSIVE" and ended != "xfailed":
            yield "inconclusive"
        if outcome == "FAIL" and ended not in ("passed", "xfailed"):
            yield "breached"
    outcomes = {
        variant: {outcome for whose, _, outcome, _ in verdicts if whose == variant}
        for variant in VARIANTS
    }
    if {"PASS"} not in outcomes.values():
        yield "no variant holds"


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), st.integers(0, 2**32))
def test_yes_is_said_where_all_is_proven_and_nowhere_else(parts, seed):
    answer = answer_of(parts, random.Random(seed))
    reasons = [*why_not(parts)]
    event(f"{answer}: {reasons[0] if reasons else 'proven'}")
    assert (answer == "yes") == (not reasons), reasons
    if "failed" in reasons:
        assert answer in ("no", None)
    if "two checkpoints" in reasons:
        assert answer is None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), st.lists(st.integers(0, 2**32), min_size=2, max_size=4))
def test_no_answer_depends_on_the_order(parts, seeds):
    assert len({answer_of(parts, random.Random(seed)) for seed in seeds}) == 1
