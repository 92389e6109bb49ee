"""--quant-jobs: a repo whose model and metric live in its conftest is evaluated by other processes."""

import json

import pytest
from test_cache_between_runs import CONFTEST, GATES

OWN_METRIC = """

@pytest.fixture(scope="session")
def quant_metric():
    def hits(outputs, targets):
        return (outputs.argmax(1) == targets).float().tolist()
    return hits
"""


@pytest.mark.slow
def test_a_repo_gives_the_same_report_on_two_processes(pytester):
    pytester.makeconftest(CONFTEST + OWN_METRIC)
    pytester.makepyfile(test_gates=GATES.format(limit=0.5))
    found = []
    for options in ((), ("--quant-jobs=2",)):
        result = pytester.runpytest_subprocess(
            "--quant", "--no-quant-cache", "--quant-report=r", "-p", "no:randomly", *options
        )
        result.assert_outcomes(passed=3)
        rows = json.loads((pytester.path / "r" / "report.json").read_text())["rows"]
        found.append([(row["variant"], row["metrics"], row["notes"]) for row in rows])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--quant-jobs=2", "--quant-jobs-backend=lok"), "jobs_backend is 'lok'; allowed: ray, "),
        (("--quant-jobs-backend=loky",), "has no effect without --quant-jobs=N"),
        (("--quant-jobs=0",), "quant_jobs is 0; expected a positive number"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(pytester, options, said):
    pytester.makepyfile(test_gates=GATES.format(limit=0.5))
    result = pytester.runpytest_inprocess("--quant", *options)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*{said}*"])
