"""pytest's hooks: what is always there, and the run that is registered when gates are switched on.

Every pytest run on the machine imports this file, so what only runs with tests of variants need is
imported where they need it (`benchmarks/startup.py` has what is added).
"""

from collections.abc import Collection, Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_quant.judge.limits import LIMITS
from pytest_quant.plugin import fixtures, hookspecs
from pytest_quant.plugin.fixtures import RUN
from pytest_quant.plugin.option_clashes import clash, name_clashes
from pytest_quant.plugin.options import add_options, is_enabled, refuse_idle

if TYPE_CHECKING:
    from pytest_quant.variant.recipe import Recipe


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    try:
        add_options(parser)
    except ValueError as error:  # of a plugin that was loaded before
        raise clash(error) from None
    name_clashes(pluginmanager)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)
    # pytest_plugins would do the same, after reading the metadata of all that is installed once more
    pluginmanager.register(fixtures, fixtures.__name__)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "quant(**limits): a test of a quantized variant (added by itself), and limits for it: "
        + ", ".join(LIMITS),
    )
    if not is_enabled(config):
        refuse_idle(config)
        return
    from pytest_quant.plugin.settings import Settings

    settings = Settings.from_config(config)
    _check_variant_names(config, settings.variants or ())
    from pytest_quant.plugin.run import Run  # loads torch, so only when all options are right

    config.stash[RUN] = Run(config, settings)
    config.pluginmanager.register(config.stash[RUN], "quant-run")
    if settings.all:
        from pytest_quant.plugin.look import Look

        config.pluginmanager.register(Look(config, config.stash[RUN]), "quant-look")
    if settings.save is not None or settings.compare is not None:
        from pytest_quant.plugin.keeper import Keeper

        keeper = Keeper(config, settings, config.stash[RUN].report)
        config.pluginmanager.register(keeper, "quant-keeper")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not _is_ours(metafunc.fixturenames):
        return
    from pytest_quant.plugin.items import is_ours
    from pytest_quant.plugin.parameters import is_parametrized
    from pytest_quant.plugin.recipes import own_recipes
    from pytest_quant.variant.recipe import FIXTURE_KINDS

    ours = is_ours("quant_variant", metafunc.fixturenames)
    if not ours or is_parametrized(metafunc, "quant_variant"):
        return
    named: dict[str, Recipe | str] = {kind: kind for kind in FIXTURE_KINDS}
    named |= own_recipes(metafunc.definition.ihook, metafunc.config)
    params = [name if isinstance(what, str) else (name, what) for name, what in named.items()]
    metafunc.parametrize("quant_variant", params, indirect=True, ids=list(named))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    run = config.stash.get(RUN, None)
    if run is None and not any(_is_ours(getattr(item, "fixturenames", ())) for item in items):
        return
    from pytest_quant.plugin.items import gates_of, limits_of, variants_of
    from pytest_quant.plugin.selection import may_ask_by_name

    only = None if run is None else run.settings.variants
    skip = pytest.mark.skip(reason="a test of a quantized variant: runs with --quant")
    kept: list[pytest.Item] = []
    deselected: list[pytest.Item] = []
    for item in items:
        wanted = variants_of(item)
        # a worker that raises here hides why; see Run
        if wanted and run is not None and not hasattr(config, "workerinput"):
            limits_of(item)
            gates_of(item)
        if wanted or (run is not None and may_ask_by_name(item)):
            item.add_marker("quant")
        if wanted and run is None:
            item.add_marker(skip)
        (kept if only is None or wanted <= {*only, "fp32"} else deselected).append(item)
    if deselected:
        items[:] = kept
        config.hook.pytest_deselected(items=deselected)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    report = yield
    _without_our_lines(report, item, call.excinfo)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    report = yield
    _without_our_lines(report, collector, getattr(getattr(report, "call", None), "excinfo", None))
    return report


def pytest_report_teststatus(report: Any) -> Any:
    if getattr(report, "quant_error", False) and report.failed:
        return "error", "E", "ERROR"
    if getattr(report, "quant_inconclusive", False) and report.skipped:
        return "inconclusive", "I", ("INCONCLUSIVE", {"yellow": True})
    return None


def _without_our_lines(report: Any, node: Any, raised: Any) -> None:
    if raised is not None:
        from pytest_quant.plugin.tracebacks import without_our_lines

        without_our_lines(report, node, raised)


def _is_ours(fixtures: Collection[str]) -> bool:
    """Whether a test that has these fixtures has one of ours that gives a variant."""
    return "_quant_inputs" in fixtures


def _check_variant_names(config: pytest.Config, names: tuple[str, ...]) -> None:
    from pytest_quant.errors import terminal_safe
    from pytest_quant.plugin.recipes import own_recipes
    from pytest_quant.variant.recipe import FIXTURE_KINDS

    known = ("fp32", *FIXTURE_KINDS, *own_recipes(config.hook, config))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise pytest.UsageError(
            terminal_safe(
                f"--quant-variants: unknown {', '.join(unknown)}; known: {', '.join(known)}"
            )
        )
