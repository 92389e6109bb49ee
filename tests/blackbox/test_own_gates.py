"""A repo's own gates: by the hook `pytest_quant_gates`, with verdicts like ours."""

import json

import pytest
from toyrepo import CONFTEST

PEAK = """
from pytest_quant import Gate, Outcome, Verdict


def peak(variant):
    '''Bytes of weights and of the largest output: a toy's measure of memory at its peak.'''
    largest = []
    for module in variant.fp32.model:
        module.register_forward_hook(lambda m, args, out: largest.append(out.nbytes))
    variant.fp32.model(quant_inputs)
    return variant.size.tensor_bytes + max(largest)


quant_inputs = torch.zeros(4, 8)


def judge_peak(variant, limit):
    kb = variant.size.tensor_bytes / 1000
    outcome = Outcome.PASS if kb <= limit else Outcome.FAIL
    return Verdict.on(
        variant, "max_peak_kb", "peak memory", outcome,
        f"{variant.name} needs {kb:.2f} kB at its peak, allowed {limit:g} kB",
        limit=limit, observed=kb, evidence={"bytes": variant.size.tensor_bytes},
    )


def pytest_quant_gates(config):
    return [Gate("max_peak_kb", LIMIT, judge_peak, unit="kB", cause=lambda variant, verdict: "buy memory")]
"""
TEST = """
import pytest
from pytest_quant import assert_gates

def test_memory(quant_dynamic):
    (*_, verdict) = assert_gates(quant_dynamic, max_size_ratio=0.9)
    assert verdict.gate == "max_peak_kb"
"""


@pytest.fixture
def repo(pytester):
    def make(limit="50", test=TEST, gates=PEAK):
        pytester.makeconftest(CONFTEST + gates.replace("LIMIT", limit))
        pytester.makepyfile(test)
        return pytester

    return make


def run(repo, *arguments):
    result = repo.runpytest("--quant", "--quant-report=out", *arguments)
    return result, json.loads((repo.path / "out" / "report.json").read_text())


def test_its_verdict_is_in_table_files_and_answer_like_ours(repo):
    toy = repo()
    result, report = run(toy)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["Sequential *dynamic *2 PASS", "may ship: yes: *all 2 gates hold*"]
    )
    verdict = report["verdicts"][-1]
    assert (verdict["gate"], verdict["outcome"], verdict["limit"]) == ("max_peak_kb", "PASS", 50)
    assert "| peak memory | ≤ 50 kB |" in (toy.path / "out" / "report.md").read_text()
    assert "peak memory" in (toy.path / "out" / "report.html").read_text()


def test_its_breach_fails_the_test_and_the_answer_and_tells_its_cause(repo):
    result, report = run(repo("0.1"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *AssertionError: peak memory FAIL: dynamic needs 0.* kB at its peak, allowed 0.1 kB",
            "*cause and remedy*",
            "buy memory",
            "Sequential *dynamic *peak memory FAIL",
            "may ship: no: *peak memory FAIL*",
        ]
    )
    assert report["may_ship"]["answer"] == "no"


def test_it_is_saved_in_a_baseline_and_told_by_workers(repo):
    toy = repo()
    result, report = run(toy, "--quant-save=main", "-n1")
    result.assert_outcomes(passed=1)
    assert [verdict["gate"] for verdict in report["verdicts"]] == ["max_size_ratio", "max_peak_kb"]
    saved = json.loads((toy.path / "reports" / "baselines" / "main.json").read_text())
    (own,) = [verdict for verdict in saved["verdicts"] if verdict["gate"] == "max_peak_kb"]
    assert (own["limit"], own["outcome"], own["variant"]) == (50, "PASS", "dynamic")
    assert own["observed"] == pytest.approx(0.3, abs=0.3)


def test_call_and_marker_state_its_limit_before_the_hook_does(repo):
    test = """
    import pytest
    from pytest_quant import assert_gates

    @pytest.mark.quant(max_peak_kb=40)
    def test_marker(quant_dynamic):
        assert [v.limit for v in assert_gates(quant_dynamic)] == [40]
        assert [v.limit for v in assert_gates(quant_dynamic, max_peak_kb=30)] == [30]
    """
    result, _ = run(repo(test=test))
    result.assert_outcomes(passed=1)


def test_without_a_limit_of_its_own_it_judges_only_where_one_is_stated(repo):
    test = (
        TEST
        + "\n\ndef test_stated(quant_dynamic):\n    assert_gates(quant_dynamic, max_peak_kb=9)\n"
    )
    test = test.replace('"max_peak_kb"\n', '"max_size_ratio"\n')
    result, report = run(repo("None", test=test))
    result.assert_outcomes(passed=2)
    assert [verdict["gate"] for verdict in report["verdicts"]] == ["max_size_ratio", "max_peak_kb"]


def test_one_that_raises_is_an_error_beside_which_the_others_are_judged(repo):
    result, report = run(repo(gates=PEAK.replace("kb = ", "kb = 1 / 0 * ")))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*judge ERROR: gate max_peak_kb raised for dynamic: ZeroDivisionError*"]
    )
    assert [verdict["outcome"] for verdict in report["verdicts"]] == ["PASS"]
    assert report["may_ship"]["answer"] == "no"


HOOK = """
from pytest_quant import Gate


def pytest_quant_gates(config):
    return {returned}
"""


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("['no gate']", "*pytest_quant_gates returned *no gate*; expected a list of Gate"),
        (
            "Gate('max_peak_kb', 50, print)",
            "*pytest_quant_gates returned Gate*; expected a list of *",
        ),
        ("[Gate('max_flips', 0.5, print)]", "*Gate: max_flips is a name of ours; choose another"),
        (
            "[Gate('max peak', 50, print)]",
            "*Gate: name is 'max peak'; expected one that can be a *",
        ),
        ("[Gate('max_peak_kb', '50', print)]", "*max_peak_kb is '50'; expected a finite number"),
        ("[Gate('max_peak_kb', 50, 7)]", "*Gate max_peak_kb: judge is 7; expected a callable(*"),
    ],
)
def test_what_is_no_gate_is_refused_before_anything_is_built(repo, returned, said):
    result = repo(gates=HOOK.format(returned=returned)).runpytest("--quant")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])


def test_a_judge_that_returns_no_verdict_is_an_error_that_says_what_it_returned(repo):
    gates = HOOK.format(returned="[Gate('max_peak_kb', 50, lambda variant, limit: 7)]")
    result, _ = run(repo(gates=gates))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*judge ERROR: gate max_peak_kb returned 7; expected a Verdict*"])


def test_a_variant_that_was_not_quantized_passes_no_gate_of_ones_own(repo):
    test = """
    from pytest_quant import Recipe, assert_gates
    import pytest

    @pytest.mark.parametrize("quant_variant", [Recipe("custom", build=lambda m: m)], indirect=True)
    def test_it(quant_variant):
        assert_gates(quant_variant, max_peak_kb=1e9)
    """
    result, _ = run(repo(test=test))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E *max_peak_kb FAIL: *was not quantized: none of its parameters*"]
    )


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (
            "kb <= limit",
            "judge ERROR: gate max_peak_kb returned a Verdict with outcome=*; allowed: *",
        ),
        (
            "'fail'",
            "judge ERROR: gate max_peak_kb returned a Verdict with outcome='fail'; allowed: *",
        ),
        ("'FAIL'", "AssertionError: peak memory FAIL: dynamic needs*"),
    ],
)
def test_an_outcome_that_is_none_is_an_error_and_its_word_is_one(repo, outcome, said):
    gates = PEAK.replace("Outcome.PASS if kb <= limit else Outcome.FAIL", outcome)
    result, report = run(repo("0.1", gates=gates))
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"E *{said}"])
    assert report["may_ship"]["answer"] == "no"


NUMPY = PEAK.replace("kb = ", "import numpy as np\n    kb = np.float32(1) * ")


def test_what_numpy_and_torch_count_crosses_to_the_report_as_plain_numbers(repo):
    gates = NUMPY.replace(
        '{"bytes": ', '{"peaks": np.arange(2), "mean": torch.tensor(0.5), (1, 2): "x", "bytes": '
    )
    toy = repo(gates=gates)
    result, report = run(toy, "-n1")
    result.assert_outcomes(passed=1)
    evidence = report["verdicts"][-1]["evidence"]
    assert (evidence["peaks"], evidence["mean"], evidence["(1, 2)"]) == ([0, 1], 0.5, "x")
    assert isinstance(report["verdicts"][-1]["observed"], float)


@pytest.mark.parametrize(
    ("given", "planted", "said"),
    [
        (
            '"bytes": ',
            '"b": object(), "bytes": ',
            "*evidence[[]'b']=<object*, a object; expected plain *",
        ),
        ("observed=kb", "observed='9'", "*observed='9'; expected a number"),
    ],
)
def test_what_json_has_not_is_an_error(repo, given, planted, said):
    result, _ = run(repo(gates=PEAK.replace(given, planted)))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*judge ERROR: gate max_peak_kb returned a Verdict with {said}"])
