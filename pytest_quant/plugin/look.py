"""Look: what `--quant-all` runs where no test asks for a variant: each kind of each model, unjudged.

A look stands among the tests as an item of its own, beside the conftest.py (or in the test file) that
describes the model, so that workers, reports and other plugins see it as they see any test.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_quant.plugin.fixtures import quant_model
from pytest_quant.plugin.items import variants_of
from pytest_quant.plugin.look_items import SEEN, Looks, looks_in, target_of
from pytest_quant.plugin.proposed_file import function_prefix, proposed_file
from pytest_quant.plugin.selection import places, single_tests, starts
from pytest_quant.report.first_tests import first_tests
from pytest_quant.subject.inputs import FIXTURES, MODEL

if TYPE_CHECKING:
    from pytest_quant.plugin.run import Run

STARTS = "quant_look"  # what a worker is told: the folders that the run is of
NO_MODEL = (
    "--quant-all found no model to look at either: no conftest.py here overrides quant_model with a "
    "trained FP32 torch.nn.Module"
)
ABOUT = pytest.StashKey[dict[str, Any]]()  # what a look is of, whatever becomes of it


class Look:
    """The plugin object of a look; there only with ``--quant-all``.

    Args:
        config: of the run.
        run: whose table the looks fill.
    """

    def __init__(self, config: pytest.Config, run: "Run") -> None:
        self.config = config
        self.run = run
        worker = getattr(config, "workerinput", None)
        self.starts = _starts(config) if worker is None else [*map(Path, worker[STARTS])]
        self.nodes: dict[Path, pytest.Collector] = {}  # folders and test files that were collected
        self.seen: list[dict[str, Any]] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Of pytest-xdist: tell a worker what the command line asks for."""
        node.workerinput[STARTS] = [*map(str, self.starts)]

    # what is collected

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        if isinstance(collector, pytest.Directory | pytest.Module) and type(collector) is not Looks:
            self.nodes.setdefault(collector.path, collector)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, Any, Any]:
        if not any(map(variants_of, items)):
            found = [*self._places()]
            if self.starts and not found:
                self.run.closing.proposal.append(NO_MODEL)
            for node, folder, is_one in found:
                self.run.lookup.all = False  # which is for models of tests; the looks take all
                file = proposed_file(self.config, folder, is_one)
                for item in looks_in(node):
                    fixture, recipe = target_of(item)
                    item.stash[ABOUT] = {
                        "order": len(items),
                        "file": file,
                        "fixture": fixture,
                        "recipe": recipe,
                    }
                    items.append(item)
        return (yield)

    def _places(self) -> Iterator[tuple[pytest.Collector, Path, bool]]:
        """The nodes that see a model of their own, where tests of it would be, and whether it is the
        only one."""
        described = self._described()
        found: dict[Path, Path] = {}
        for start in self.starts:
            if above := [place for place in described if start.is_relative_to(place)]:
                found.setdefault(max(above, key=lambda place: len(place.parts)), start)
            found |= {place: place for place in described if start in place.parents}
        models = [place for place, names in described.items() if MODEL in names]
        seen = {
            place: folder
            for place, folder in found.items()
            if any(place.is_relative_to(model) for model in models)
        }
        for place, folder in sorted(seen.items()):
            if (node := self._node_of(place)) is not None:
                yield node, folder, len(seen) == 1

    def _described(self) -> dict[Path, set[str]]:
        """The inputs that each folder's conftest.py, and each test file, overrides. What another plugin
        does stands for the whole repo."""
        found: dict[Path, set[str]] = {}
        for plugin in self.config.pluginmanager.get_plugins():
            if isinstance(plugin, ModuleType) and not plugin.__name__.startswith("pytest_quant."):
                file = Path(plugin.__file__ or "")
                place = file.parent if file.name == "conftest.py" else self.config.rootpath
                found.setdefault(place, set()).update(_inputs_of(plugin))
        for path, node in self.nodes.items():
            if isinstance(node, pytest.Module):
                found[path] = _inputs_of(node.obj)
        return {place: names for place, names in found.items() if names}

    def _node_of(self, place: Path) -> pytest.Collector | None:
        """The node whose tests see what a place describes; of one above all that is collected the top."""
        if place in self.nodes:
            return self.nodes[place]
        below = [path for path in self.nodes if path.is_relative_to(place)]
        return self.nodes[min(below, key=lambda path: len(path.parts))] if below else None

    # what was seen

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        report = yield
        about = item.stash.get(ABOUT, None)
        if about is not None and (report.when == "call" or not report.passed):
            seen = item.stash.get(SEEN, None) or {
                "limits": {},
                "measured": {},
                "unstated": [],
                "objection": _why(report),
            }
            report.quant_look = {**about, **seen}
        return report

    def pytest_runtest_logreport(self, report: Any) -> None:
        if seen := getattr(report, "quant_look", None):
            self.seen.append(seen)

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self) -> None:
        """Propose a test file for each place, to be printed above the answer."""
        of_file: dict[str, list[dict[str, Any]]] = {}
        for seen in sorted(self.seen, key=lambda seen: seen["order"]):
            of_file.setdefault(seen["file"], []).append(seen)
        for file, looks in of_file.items():
            text = first_tests(looks, function_prefix(self.config))
            self.run.closing.proposal += [
                "",
                _head(file, "assert" in text),
                "",
                *text.splitlines(),
                "",
            ]


def _starts(config: pytest.Config) -> list[Path]:
    """The folders that a look is at: none where single tests or a part was asked for, unless --quant-all
    was typed beside them."""
    is_typed = "--quant-all" in config.invocation_params.args
    if not is_typed and (single_tests(config) or places(config)):
        return []
    return starts(config)


def _inputs_of(module: Any) -> set[str]:
    """The inputs of ours that a module has fixtures for."""
    values = list(vars(module).values())
    return {v.__name__ for v in values if isinstance(v, type(quant_model))} & {*FIXTURES}


def _why(report: Any) -> str:
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[-1]).removeprefix("Skipped: ").rstrip(".")
    reason = getattr(report, "quant_reason", None) or "it could not be built"
    return str(reason).rstrip(".")


def _head(file: str, has_tests: bool) -> str:
    if has_tests:
        return f"No test uses a variant yet. To get started, paste this into {file}:"
    return "No test uses a variant yet, and no variant is worth a gate as it is:"
