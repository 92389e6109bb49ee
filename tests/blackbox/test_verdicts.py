"""PASS, FAIL and INCONCLUSIVE under pytest; accuracy in the population; early stopping."""

import json

import pytest
import torch
from toyrepo import CONFTEST

# The real rounds of a test would take seconds and be at the machine's mercy: these are planted.
PLANTED = """

@pytest.fixture(autouse=True)
def planted(request, monkeypatch):
    from pytest_quant.variant.rounds import Pair
    ratio = request.node.get_closest_marker("ratio")
    if ratio is None:
        return
    values = iter(ratio.args[0] * 1000)

    def add_round(self):
        self.seconds_a.append(next(values) * 1e-3)
        self.seconds_b.append(1e-3)
        self.spent += 0.2

    monkeypatch.setattr(Pair, "add_round", add_round)


def pytest_configure(config):
    config.addinivalue_line("markers", "ratio(values): planted ratios")
"""
FASTER, SLOWER, NEITHER = [1.6], [1.2], [1.4, 1.6]
TEST = """
import pytest
from pytest_quant import assert_max_accuracy_drop, assert_min_speedup

@pytest.mark.ratio({ratios})
def test_speed(quant_static):
    verdict = assert_min_speedup(quant_static, 1.5)
    print("speed was judged", verdict.outcome)
    assert_max_accuracy_drop(quant_static, {drop})
"""


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST + PLANTED)
    return pytester


def test_a_proven_speedup_passes(repo):
    repo.makepyfile(TEST.format(ratios=FASTER, drop=0.5))
    repo.runpytest("--quant").assert_outcomes(passed=1)


def test_a_proven_slowness_fails_with_cause_and_remedy(repo):
    repo.makepyfile(TEST.format(ratios=SLOWER, drop=0.5))
    result = repo.runpytest("--quant")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*AssertionError: speed-up FAIL: static is 1.20x*required 1.5x", "*cause and remedy*"]
    )


def test_an_undecided_speedup_is_inconclusive_and_later_assertions_still_run(repo):
    repo.makepyfile(TEST.format(ratios=NEITHER, drop=0.5))
    result = repo.runpytest("--quant", "-rs", "-s")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*speed was judged INCONCLUSIVE*",
            "*speed-up INCONCLUSIVE: static is 1.*",
            "*1 inconclusive*",
        ]
    )
    assert result.parseoutcomes() == {"inconclusive": 1}
    repo.makepyfile(
        TEST.format(ratios=NEITHER, drop=0).replace("quant_static, 0)", "quant_static, -1)")
    )
    repo.runpytest("--quant").assert_outcomes(failed=1)


@pytest.mark.parametrize("arguments", [(), ("-n", "2"), ("-x",)])
def test_inconclusive_has_the_right_exit_code(repo, arguments):
    # quant_dynamic, since FX, which quant_static needs, is imported anew by each process
    repo.makepyfile(TEST.format(ratios=NEITHER, drop=0.5).replace("quant_static", "quant_dynamic"))
    run = repo.runpytest_inprocess if arguments else repo.runpytest_subprocess
    result = run("--quant", "--junitxml=out.xml", *arguments)
    assert result.ret == 0
    assert result.parseoutcomes() == {"inconclusive": 1}
    assert 'skipped="1"' in (repo.path / "out.xml").read_text()
    assert run("--quant", "--quant-inconclusive=fail", *arguments).ret == 1


def test_an_expected_failure_stays_one(repo):
    marked = TEST.format(ratios=SLOWER, drop=0.5).replace(
        "def test", "@pytest.mark.xfail\ndef test"
    )
    repo.makepyfile(marked)
    repo.runpytest("--quant").assert_outcomes(xfailed=1)


def test_an_error_that_surfaces_in_the_call_counts_as_error(repo):
    repo.makepyfile(
        """
        import pytest
        from pytest_quant import assert_max_accuracy_drop

        @pytest.fixture(scope="session")
        def quant_metric():
            calls = []

            def metric(outputs, targets):
                calls.append(1)
                if len(calls) > 3:
                    raise RuntimeError("later")
                return (outputs.argmax(1) == targets).float()

            return metric

        def test_static(quant_static):
            assert_max_accuracy_drop(quant_static, 0.5)
        """
    )
    for arguments in ((), ("-n", "2")):
        result = repo.runpytest_inprocess("--quant", *arguments)
        assert result.ret == 1
        assert result.parseoutcomes() == {"error": 1} or result.parseoutcomes() == {"errors": 1}
        result.stdout.fnmatch_lines(["*evaluate ERROR: metric metric raised: RuntimeError: later*"])


SAMPLES = """

def batches(seed, samples=64):
    x = torch.randn({samples}, 8, generator=torch.Generator().manual_seed(seed))
    return list(zip(x.split(50), x[:, :3].argmax(1).split(50)))


@pytest.fixture(scope="session")
def quant_eval_data():
    return batches(1)
"""
POPULATION = """
from pytest_quant import assert_max_accuracy_drop

def test_population(quant_static):
    assert_max_accuracy_drop(quant_static, 0.05, scope="population")
"""


@pytest.mark.parametrize(
    ("samples", "outcome", "said"),
    [
        (50, "failed", "accuracy INCONCLUSIVE: *50 samples cannot show a drop of 5 pt*59 samples*"),
        (2000, "passed", None),
    ],
)
def test_the_population_is_judged_as_far_as_the_sample_goes(repo, samples, outcome, said):
    repo.makeconftest(CONFTEST + SAMPLES.format(samples=samples))
    repo.makepyfile(POPULATION)
    result = repo.runpytest("--quant")
    result.assert_outcomes(**{outcome: 1})
    if said:
        result.stdout.fnmatch_lines([f"*{said}"])
        repo.runpytest("--quant", "--quant-inconclusive=report").assert_outcomes()


EARLY = """

class Rows(torch.utils.data.Dataset):
    read = 0

    def __init__(self, samples):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(samples, 8, generator=generator)
        self.y = self.x[:, :3].argmax(1).sort().values  # sorted by class
        self.x = self.x[self.x[:, :3].argmax(1).argsort(stable=True)]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        Rows.read += 1
        return self.x[index], self.y[index]


@pytest.fixture(scope="session")
def quant_eval_data():
    return torch.utils.data.DataLoader(Rows(10_000), batch_size=100)
"""


def test_early_stopping_decides_on_a_part_and_says_so(repo):
    repo.makeconftest(CONFTEST + EARLY)
    repo.makepyfile(
        """
        import pytest
        from conftest import Rows
        from pytest_quant import assert_max_accuracy_drop

        def test_drop(quant_static):
            verdict = assert_max_accuracy_drop(quant_static, 0.2)
            assert verdict.evidence["of"] == 10_000
            assert verdict.evidence["samples"] < 2_000
            assert Rows.read < 2 * 2_000 + 500

        def test_breach(quant_custom):
            with pytest.raises(AssertionError, match="decided after .* of 10,000 samples"):
                assert_max_accuracy_drop(quant_custom, 0.1)

        @pytest.fixture
        def quant_custom(request):
            from pytest_quant import Recipe
            import torch

            def wrong(module):
                with torch.no_grad():
                    module[2].bias += 3 * torch.eye(3)[0]
                return torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear})

            run = request.getfixturevalue("_quant_switch")
            return run.lookup.variant(request, ("wrong", Recipe("custom", build=wrong)))
        """
    )
    result = repo.runpytest("--quant", "--quant-early-stop", "--quant-report=out")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*evaluated on * of 10,000 samples, drawn at random"])
    report = json.loads((repo.path / "out" / "report.json").read_text())
    static = next(row for row in report["rows"] if row["variant"] == "static")
    assert static["metrics"][0]["samples"] < static["metrics"][0]["of"] == 10_000


def test_without_the_option_the_whole_set_is_evaluated(repo):
    repo.makeconftest(CONFTEST + EARLY)
    repo.makepyfile(
        """
        from pytest_quant import assert_max_accuracy_drop

        def test_drop(quant_static):
            assert assert_max_accuracy_drop(quant_static, 0.2).evidence["samples"] == 10_000
        """
    )
    repo.runpytest("--quant").assert_outcomes(passed=1)


def test_ids_of_flipped_samples_are_in_the_report(repo):
    repo.makepyfile(
        """
        import torch
        from pytest_quant import assert_max_flips, Recipe
        import pytest

        class Wrong(torch.nn.Module):
            def __init__(self, module):
                super().__init__()
                self.module = module

            def forward(self, x):
                y = self.module(x)
                return torch.where(x[:, 7:] > 1.5, -y, y)

        @pytest.mark.parametrize("quant_variant", [Recipe("custom", build=Wrong, quantized=False)],
            indirect=True)
        def test_flips(quant_variant):
            assert_max_flips(quant_variant, 0.5)
        """
    )
    repo.runpytest("--quant", "--quant-report=out").assert_outcomes(passed=1)
    report = json.loads((repo.path / "out" / "report.json").read_text())
    flipped = report["rows"][1]["metrics"][0]["flipped"]
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    assert set(flipped) <= set((x[:, 7] > 1.5).nonzero().flatten().tolist())
    assert len(flipped) == report["rows"][1]["metrics"][0]["flips"] > 0
