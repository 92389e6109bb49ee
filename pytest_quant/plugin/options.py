"""Options: each declared once, for the command line and for ini."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from pytest_quant.judge.limits import LIMITS


class Option(NamedTuple):
    """One option: ``--quant-NAME`` on the command line, ``quant_NAME`` in ini (unless not `in_ini`)."""

    name: str
    type: str  # of ini: string, int, float, bool
    help: str
    metavar: str | None = None
    in_ini: bool = True

    @property
    def flag(self) -> str:
        """As on the command line."""
        return f"--quant-{self.name.replace('_', '-')}"

    @property
    def key(self) -> str:
        """As in ini, and the command line's dest."""
        return f"quant_{self.name}"


OPTIONS = (
    Option(
        "variants",
        "string",
        "run only the tests of these variants, such as static,qat or the names of recipes",
        "NAMES",
    ),
    Option(
        "all",
        "bool",
        "build and measure dynamic, static, QAT and your own recipes for each model that a test uses, or, "
        "without any test of a variant, for each quant_model; then print a test file to start with",
    ),
    Option(
        "report",
        "string",
        "write report.html, report.json, report.md and report.csv to DIR (every DIR is relative to the "
        "current folder, in ini to rootdir)",
        "DIR",
    ),
    Option(
        "export",
        "string",
        "write the files of all variants that may ship to DIR, each in its own folder with a JSON file of "
        "what was judged; those of an earlier run are removed",
        "DIR",
    ),
    Option(
        "junit", "bool", "add each verdict to the file of --junit-xml, as properties of its test"
    ),
    Option(
        "format",
        "string",
        "format of the table, by its name in tabulate, such as github",
        "NAME",
    ),
    Option(
        "engine",
        "string",
        "PyTorch's quantized engine: x86, onednn, ...; auto: measure them all, take the fastest",
        "NAME",
    ),
    Option(
        "train_device",
        "string",
        "device on which the built-in QAT loop trains, such as cuda; variants are still judged on the CPU",
        "NAME",
    ),
    Option(
        "jobs",
        "int",
        "number of processes that evaluate, with --quant-threads each; default: 1",
        "N",
    ),
    Option(
        "jobs_backend",
        "string",
        "joblib backend of --quant-jobs: loky (processes on this machine), ray (a cluster), or one that "
        "you have registered; default: loky",
        "NAME",
    ),
    Option(
        "threads",
        "int",
        "PyTorch's threads; default: OMP_NUM_THREADS, else min(2, available cores)",
        "N",
    ),
    Option(
        "latency_batch",
        "int",
        "samples in one timed call; default: the size of the first eval batch",
        "N",
    ),
    Option(
        "latency_grid",
        "string",
        "also time each variant with these numbers of threads x samples, such as 1x1,1x32,2x1",
        "GRID",
    ),
    Option("timing_seconds", "float", "time limit of one speed gate, in seconds; default: 30", "S"),
    Option(
        "calibration_shift",
        "string",
        "what to do if calibration or training inputs differ from the eval inputs: warn, error, or off "
        "(do not compare them); default: warn",
        "warn|error|off",
    ),
    Option(
        "early_stop",
        "bool",
        "decide accuracy from a random part of a map-style eval set if that is enough",
    ),
    Option(
        "inconclusive",
        "string",
        "what an undecided gate does: fail its test, report only, or auto (an undecided accuracy fails, an "
        "undecided speed-up is reported); default: auto",
        "auto|fail|report",
    ),
    Option(
        "save",
        "string",
        "save what was measured as baseline NAME, replacing an older one; needs a complete, green run",
        "NAME",
        in_ini=False,
    ),
    Option(
        "force", "bool", "let --quant-save save a partial, red or undecided run too", in_ini=False
    ),
    Option("compare", "string", "show what changed since baseline NAME", "NAME"),
    Option("baselines", "string", "folder of the baselines; default: reports/baselines", "DIR"),
    Option(
        "explain",
        "bool",
        "show in which layers each variant loses accuracy, even without a failure",
    ),
    Option(
        "explain_seconds",
        "float",
        "time limit for finding out where a failed accuracy gate lost it, in seconds; 0: do not look; "
        "default: 30",
        "S",
    ),
    Option(
        "mend",
        "bool",
        "after a failed accuracy gate, search for a recipe that holds the limit, and measure it",
    ),
    Option(
        "mend_seconds",
        "float",
        "time limit of a search of --quant-mend, in seconds; default: 300",
        "S",
    ),
    Option(
        "cache",
        "string",
        "folder that keeps builds and evaluations for the next run; default: pytest's own cache",
        "DIR",
    ),
    Option("durations", "bool", "show the duration of each stage of each variant"),
    *(Option(name, "float", f"limit: {limit.means}", "X") for name, limit in LIMITS.items()),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option, for the command line and for ini."""
    group = parser.getgroup("quant", "quantization gates (pytest-quant)")
    group.addoption("--quant", action="store_true", dest="quant", help="build, measure and judge "
                    "quantized variants; without it, their tests are skipped")  # fmt: skip
    group.addoption("--no-quant", action="store_true", dest="no_quant", help="switch "
                    "--quant off, even if ini has quant = true")  # fmt: skip
    group.addoption("--no-quant-cache", action="store_true", dest="no_quant_cache", help="neither "
                    "use nor keep builds and evaluations of other runs")  # fmt: skip
    group.addoption("--quant-artefact", action="append", dest="quant_artefact", metavar="NAME=PATH",
                    help="judge a file of another runtime (.onnx, .xml, .pte, .tflite) as variant NAME in "
                    "each test of quant_variant; PATH is relative to rootdir; may be repeated")  # fmt: skip
    parser.addini("quant", "run quantization gates, like --quant", type="bool", default=False)
    types: dict[str, Callable[[str], Any]] = {"int": int, "float": float}
    for option in OPTIONS:
        if option.type == "bool":
            group.addoption(
                option.flag, action="store_const", const=True, dest=option.key,
                help=_for_argparse(option.help),
            )  # fmt: skip
        else:
            group.addoption(
                option.flag, dest=option.key, help=_for_argparse(option.help), metavar=option.metavar,
                type=types.get(option.type), default=None,
            )  # fmt: skip
        if option.in_ini:
            parser.addini(option.key, option.help, type=option.type, default=None)  # type: ignore[arg-type]


def is_enabled(config: pytest.Config) -> bool:
    """Whether gates run at all."""
    if config.getoption("no_quant"):
        return False
    if config.getoption("quant"):
        return True
    # a repo that has an ini value of this name for something else declares it so, after us
    return config.getini("quant") is True


def refuse_idle(config: pytest.Config) -> None:
    """Raise UsageError for options of ours on the command line of a run without gates."""
    given = [option.flag for option in OPTIONS if config.getoption(option.key) is not None]
    given += ["--quant-artefact"] if config.getoption("quant_artefact") else []
    if given and not config.getoption("no_quant"):
        raise pytest.UsageError(
            f"{', '.join(given)} has no effect without --quant (or quant = true)"
        )


def _for_argparse(text: str) -> str:
    """A help text in which argparse finds nothing to format."""
    return text.replace("%", "%%")
