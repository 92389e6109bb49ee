"""Merely installed, the plugin changes nothing; and in a repo with names like ours, nothing either."""

import pytest
from toyrepo import CONFTEST

from pytest_quant.plugin.options import OPTIONS
from pytest_quant.plugin.parameters import is_parametrized


@pytest.fixture
def own(pytester):
    """A repo that has nothing to do with quantization of models, from its conftest and one test file."""

    def make(conftest, test):
        pytester.makeconftest(conftest)
        pytester.makepyfile(test_own=test)
        return pytester

    return make


@pytest.mark.parametrize(
    "argument", ["--help", "--fixtures", "--markers", "--co", "--version", "-hv"]
)
def test_pytests_own_lists_come_out(pytester, argument):
    result = pytester.runpytest_inprocess(argument)
    assert result.ret in (0, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert "Error" not in result.stderr.str()


def test_the_help_names_each_option_and_every_percent_sign(pytester):
    text = pytester.runpytest_inprocess("--help").stdout.str()
    assert all(option.flag in text for option in OPTIONS)
    assert "(0.3 is 30 %)" in text
    assert "%%" not in text


@pytest.mark.parametrize("switch", [(), ("--quant",)], ids=["off", "on"])
@pytest.mark.parametrize("name", ["quant_fp32", "quant_dynamic", "quant_static", "quant_qat"])
def test_a_repos_own_fixture_of_a_name_of_ours_is_its_own(own, name, switch):
    repo = own(
        f"import pytest\n\n@pytest.fixture\ndef {name}():\n    return 0.3\n",
        f"def test_it({name}):\n    assert {name} < 0.1\n",
    )
    result = repo.runpytest_inprocess(*switch, "--quant-variants=dynamic" if switch else "-q")
    result.assert_outcomes(failed=1)
    assert result.ret == 1


@pytest.mark.parametrize("switch", [(), ("--quant",)], ids=["off", "on"])
def test_so_is_a_parametrized_quant_variant(own, switch):
    repo = own(
        """
        import pytest

        @pytest.fixture(params=["int8", "fp16"])
        def quant_variant(request):
            return request.param
        """,
        "def test_it(quant_variant):\n    assert quant_variant == 'int8'\n",
    )
    repo.runpytest_inprocess(*switch).assert_outcomes(passed=1, failed=1)


def test_a_fixture_that_asks_for_ours_of_its_name_is_still_ours(own):
    repo = own(
        CONFTEST
        + "\n@pytest.fixture\ndef quant_dynamic(quant_dynamic):\n    return quant_dynamic\n",
        """
        from pytest_quant import assert_max_size

        def test_it(quant_dynamic):
            assert_max_size(quant_dynamic, ratio=0.9)
        """,
    )
    repo.runpytest_inprocess().assert_outcomes(skipped=1)
    repo.runpytest_inprocess("--quant").assert_outcomes(passed=1)
    result = repo.runpytest_inprocess("--quant", "--quant-variants=qat")
    result.assert_outcomes(deselected=1)
    result.stdout.fnmatch_lines(
        ["no test used variants of --quant-variants=qat alone, so nothing *"]
    )


@pytest.mark.parametrize("switch", [(), ("--quant",)], ids=["off", "on"])
@pytest.mark.parametrize("marker", ["quant('rates')", "quant(desk='rates')", "quant"])
def test_a_repos_own_marker_of_our_name_is_not_read(own, marker, switch):
    repo = own("", f"import pytest\n\n@pytest.mark.{marker}\ndef test_it():\n    pass\n")
    result = repo.runpytest_inprocess(*switch)
    result.assert_outcomes(passed=1)
    assert result.ret == 0


def test_a_wrong_limit_is_told_where_the_variant_is_asked_for_by_name_too(own):
    repo = own(
        CONFTEST,
        """
        import pytest
        from pytest_quant import assert_max_accuracy_drop

        @pytest.mark.quant(max_acuracy_drop=0.1)
        def test_it(request):
            assert_max_accuracy_drop(request.getfixturevalue("quant_dynamic"))
        """,
    )
    result = repo.runpytest_inprocess("--quant")
    result.stdout.fnmatch_lines(["*unknown limit 'max_acuracy_drop'*"])
    assert result.ret == 1


@pytest.mark.parametrize("option", ["'--quant'", "'--quant-report', dest='own'"])
def test_an_own_option_of_our_name_is_a_sentence(own, option):
    repo = own(
        f"def pytest_addoption(parser):\n    parser.addoption({option}, action='store_true')\n",
        "def test_it():\n    pass\n",
    )
    result = repo.runpytest_subprocess()
    result.stderr.fnmatch_lines(["ERROR: *--quant*The plugin pytest-quant has options*-p no:quant"])
    assert "Traceback" not in result.stderr.str()
    repo.runpytest_subprocess("-p", "no:quant").assert_outcomes(passed=1)


def test_an_own_error_of_an_option_is_not_ours_to_explain(own):
    repo = own("def pytest_addoption(parser):\n    raise ValueError('no desk')\n", "")
    result = repo.runpytest_inprocess()
    assert "pytest-quant" not in result.stderr.str() + result.stdout.str()


def test_an_own_ini_value_of_our_name_switches_nothing_on(own):
    repo = own(
        "def pytest_addoption(parser):\n    parser.addini('quant', 'a path')\n",
        "def test_it(pytestconfig):\n    assert pytestconfig.getini('quant') == '/path'\n",
    )
    repo.makeini("[pytest]\nquant = /path\n")
    result = repo.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*quantization*")


GATED = """
import pytest
from pytest_quant import assert_max_accuracy_drop

{marks}
def test_drop(limit, quant_variant):
    assert_max_accuracy_drop(quant_variant, limit)
"""


@pytest.mark.parametrize(
    "names", ["'limit, quant_variant'", "'quant_variant ,limit'", "('limit', 'quant_variant')"]
)
def test_names_of_parameters_may_be_written_in_each_way_that_pytest_knows(own, names):
    values = "[(0.5, 'static'), (0.6, 'dynamic')]"
    if names.startswith("'quant"):
        values = "[('static', 0.5), ('dynamic', 0.6)]"
    marks = f"@pytest.mark.parametrize({names}, {values}, indirect=['quant_variant'])"
    repo = own(CONFTEST, GATED.format(marks=marks))
    repo.runpytest_inprocess("--quant").assert_outcomes(passed=2)


@pytest.mark.parametrize("place", ["conftest", "module"])
def test_a_repos_own_hook_may_give_the_variants(own, place):
    hook = """
def pytest_generate_tests(metafunc):
    if "quant_variant" in metafunc.fixturenames:
        given = [(0.5, "static"), (0.6, "dynamic")]
        metafunc.parametrize("limit,quant_variant", given, indirect=["quant_variant"])
"""
    repo = own(
        CONFTEST + hook * (place == "conftest"),
        GATED.format(marks="") + hook * (place == "module"),
    )
    repo.runpytest_inprocess("--quant").assert_outcomes(passed=2)


def test_pytest_still_tells_which_parameters_a_hook_has_given(own):
    repo = own("", "def test_it(by_hook):\n    pass\n")
    seen = {}

    class Hooks:
        def pytest_generate_tests(self, metafunc):
            metafunc.parametrize("by_hook", [1])
            seen.update({n: is_parametrized(metafunc, n) for n in ("by_hook", "another")})

    repo.inline_run(plugins=[Hooks()])
    assert seen == {"by_hook": True, "another": False}
