"""A failed accuracy gate names the layers at fault, and --quant-mend a recipe that holds the limit."""

import json

import pytest

CONFTEST = """
import pytest
import torch
from pytest_quant import Recipe, Subject
from pytest_quant.explain.remedies.proposal import Proposal


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(8, 32)
        self.head = torch.nn.Linear(32, 3)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


def images(seed, samples=256):
    return torch.randn(samples, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def quant_model():
    torch.manual_seed(0)
    model = Net().eval()
    with torch.no_grad():  # all logits share a number that is far larger than what tells them apart
        model.head.bias += 200
    return Subject(model, "net")


@pytest.fixture(scope="session")
def quant_eval_data(quant_model):
    x = images(1)
    with torch.no_grad():
        y = quant_model.model(x).argmax(1)
    return list(zip(x.split(64), y.split(64)))


@pytest.fixture(scope="session")
def quant_calibration_data():
    return list(images(2).split(64))
"""
GATES = """
from pytest_quant import assert_max_accuracy_drop, assert_max_size


def test_accuracy(quant_static):
    assert_max_accuracy_drop(quant_static, {limit})


def test_size(quant_static):
    assert_max_size(quant_static, ratio=0.9)
"""
CAUSE = [
    "*- cause and remedy -*",
    "head makes * % of the noise in the outputs (* % of the range is empty).",
    "layer *type *share of noise *SQNR dB *what is wrong",
    "head *Linear *",
]


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_gates=GATES.format(limit=0.05))
    return pytester


def test_a_failed_accuracy_gate_names_the_layer_at_fault(repo):
    result = repo.runpytest("--quant")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines([*CAUSE, "--quant-mend looks for a recipe that holds the limit."])


def test_the_failure_fits_on_a_screen(repo):
    lines = repo.runpytest("--quant", "--quant-mend").outlines
    start = next(i for i, line in enumerate(lines) if "cause and remedy" in line)
    end = next(i for i, line in enumerate(lines) if "= quantization =" in line)
    assert end - start < 24


def test_mending_ends_with_lines_to_paste_that_hold(repo):
    result = repo.runpytest("--quant", "--quant-mend")
    result.assert_outcomes(failed=1, passed=1)  # a remedy is proposed, not applied
    line = 'Recipe("static", keep_fp32=[[]"head"])  # drop * pt, *x smaller, *x as fast, measured'
    code = [
        "# To paste into conftest.py: quant_static is then built so.",
        "from pytest_quant import Recipe",
        "",
        "",
        "def pytest_quant_recipes(config):",
        '    return {"static": Recipe("static", keep_fp32=["head"])}',
    ]
    result.stdout.fnmatch_lines([*CAUSE, line, code[0]])
    start = result.outlines.index(code[0])
    assert result.outlines[start : start + len(code)] == code
    repo.makeconftest("\n".join([CONFTEST, *code]))
    repo.runpytest("--quant").assert_outcomes(passed=2)


def test_tests_with_the_same_limit_share_one_search(repo):
    repo.makepyfile(
        test_gates="""
        import pytest
        from pytest_quant import assert_max_accuracy_drop
        from pytest_quant.explain.remedies import search

        searches = []
        started = search.Search.remedy


        @pytest.fixture(autouse=True)
        def counted(monkeypatch):
            monkeypatch.setattr(
                search.Search, "remedy", lambda self, cheap: (searches.append(1), started(self, cheap))[1]
            )


        @pytest.mark.parametrize("limit", [0.05, 0.05, 0.04])
        def test_accuracy(quant_static, limit):
            assert_max_accuracy_drop(quant_static, limit)


        def test_count():
            assert len(searches) == 2
        """
    )
    result = repo.runpytest("--quant", "--quant-mend", "-p", "no:xdist", "-p", "no:randomly")
    result.assert_outcomes(failed=3, passed=1)
    shown = [line for line in result.outlines if line.startswith('Recipe("static"')]
    named = [line for line in result.outlines if line.startswith("as reported for test_gates.py")]
    assert len(shown) + len(named) >= 3  # each tells it, in full or by who has told it


def test_what_was_found_is_in_the_report(repo):
    repo.runpytest("--quant", "--quant-mend", "--quant-report=out")
    document = json.loads((repo.path / "out" / "report.json").read_text())
    (row,) = [row for row in document["rows"] if row["variant"] == "static"]
    assert max(row["explanation"]["layers"], key=lambda layer: layer["share"])["name"] == "head"
    assert row["remedy"]["kept"] == ["head"]
    assert row["remedy"]["recipe"]["keep_fp32"] == ["head"]
    assert row["seconds"]["explain"] > 0
    assert 'keep_fp32=["head"]' in (repo.path / "out" / "report.md").read_text()


def test_without_time_it_says_how_to_see_more(repo):
    result = repo.runpytest("--quant", "--quant-explain-seconds=0")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["--quant-explain shows which layers lose accuracy*"])
    result.stdout.no_fnmatch_line("head makes*")


def test_explain_looks_into_variants_that_pass(repo):
    repo.makepyfile(test_gates=GATES.format(limit=0.99))
    result = repo.runpytest("--quant", "--quant-explain")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*= quantization =*", "*head makes * % of the noise*"])
    repo.runpytest("--quant").stdout.no_fnmatch_line("*of the noise*")


def test_a_variant_that_cannot_be_looked_into_fails_with_that_reason(repo):
    repo.makepyfile(
        test_gates="""
        import pytest
        from pytest_quant import Recipe, assert_max_accuracy_drop

        @pytest.mark.parametrize(
            "quant_variant", [Recipe("custom", build=lambda m: lambda x: -m(x))], indirect=True
        )
        def test_accuracy(quant_variant):
            assert_max_accuracy_drop(quant_variant, 0.01)
        """
    )
    result = repo.runpytest("--quant", "--quant-mend")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["Which layers lose accuracy could not be determined: *is one piece*"]
    )
    result.stdout.no_fnmatch_line("*ERROR")


def test_a_negative_budget_is_a_usage_error(repo):
    result = repo.runpytest("--quant", "--quant-mend-seconds=-1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*quant_mend_seconds is -1.0; expected a positive number*"])


@pytest.mark.slow
def test_with_workers_the_failure_and_the_report_say_the_same(repo):
    result = repo.runpytest("--quant", "--quant-mend", "-n", "2", "--quant-report=out")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["head makes * % of the noise*", 'Recipe("static", keep_fp32=*'])
    document = json.loads((repo.path / "out" / "report.json").read_text())
    rows = {row["variant"]: row for row in document["rows"]}
    assert rows["static"]["remedy"]["kept"] == ["head"]


def test_breaches_with_one_cause_tell_it_once(repo):
    repo.makepyfile(
        test_gates="""
        from pytest_quant import assert_gates

        def test_both(quant_static):
            assert_gates(quant_static, max_flips=0.01, max_accuracy_drop=0.01)
        """
    )
    result = repo.runpytest("--quant")
    result.assert_outcomes(failed=1)
    assert sum("of the noise in the outputs" in line for line in result.outlines) == 1
    result.stdout.fnmatch_lines(["*- cause and remedy -*"])


def test_an_expected_failure_is_not_looked_into(repo):
    repo.makepyfile(
        test_gates="""
        import pytest
        from pytest_quant import assert_max_accuracy_drop

        @pytest.mark.xfail
        def test_marked(quant_static):
            assert_max_accuracy_drop(quant_static, 0.01)

        def test_caught(quant_static):
            with pytest.raises(AssertionError, match="accuracy FAIL"):
                assert_max_accuracy_drop(quant_static, 0.01)
        """
    )
    repo.runpytest("--quant", "--quant-mend", "--quant-report=out").assert_outcomes(
        xfailed=1, passed=1
    )
    document = json.loads((repo.path / "out" / "report.json").read_text())
    assert [row["remedy"] for row in document["rows"]] == [None, None]
    assert [row["explanation"] for row in document["rows"]] == [None, None]
