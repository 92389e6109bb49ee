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
        "run only tests of these variants: dynamic, static, qat, own recipes; comma-separated",
        "NAMES",
    ),
    Option(
        "all",
        "bool",
        "build and measure dynamic, static, QAT and own recipes of each model that a test uses",
    ),
    Option(
        "report",
        "string",
        "write report.html, report.json, report.md and report.csv into DIR, which is taken from the "
        "current folder (in ini from rootdir, as every DIR)",
        "DIR",
    ),
    Option(
        "export",
        "string",
        "write the files of all variants that may ship into DIR, a folder for each, with a page of what "
        "was judged; those of an earlier run are removed",
        "DIR",
    ),
    Option("junit", "bool", "give each verdict to --junit-xml, as properties of its test"),
    Option("format", "string", "table format of the summary, as tabulate names them", "NAME"),
    Option(
        "engine", "string", "PyTorch's quantized engine: x86, onednn, ...; auto measures", "NAME"
    ),
    Option(
        "train_device",
        "string",
        "where the built-in QAT loop trains, such as cuda; what is judged runs on the CPU",
        "NAME",
    ),
    Option(
        "jobs", "int", "processes that evaluate, of --quant-threads each; default 1, this one", "N"
    ),
    Option(
        "jobs_backend",
        "string",
        "what runs them, by joblib's name: loky (processes on this machine), ray (a cluster); default loky",
        "NAME",
    ),
    Option("threads", "int", "PyTorch's threads; default min(2, available cores)", "N"),
    Option(
        "latency_batch", "int", "samples in one timed call; default the first eval batch's", "N"
    ),
    Option(
        "latency_grid",
        "string",
        "time each variant with these threads x samples too, as in 1x1,1x32,2x1",
        "GRID",
    ),
    Option("timing_seconds", "float", "what one speed gate may take; default 30", "S"),
    Option(
        "calibration_shift",
        "string",
        "what calibration or training inputs do that are unlike the eval inputs: warn, error, or off; "
        "default warn",
        "warn|error|off",
    ),
    Option(
        "early_stop",
        "bool",
        "decide accuracy on a random part of a map-style eval set where that is enough",
    ),
    Option(
        "inconclusive",
        "string",
        "what a gate that could not decide does: fail, report, or auto (speed is reported, "
        "accuracy fails); default auto",
        "auto|fail|report",
    ),
    Option(
        "save",
        "string",
        "save what was measured as baseline NAME, in place of the one there; needs a whole, green run",
        "NAME",
        in_ini=False,
    ),
    Option("force", "bool", "--quant-save of a partial or a red run too", in_ini=False),
    Option("compare", "string", "show what changed since baseline NAME", "NAME"),
    Option("baselines", "string", "folder of the baselines; default reports/baselines", "DIR"),
    Option("explain", "bool", "say of every variant in which layers it loses accuracy"),
    Option(
        "explain_seconds",
        "float",
        "what a failed accuracy gate may take to say where it is lost; 0 for nothing; default 30",
        "S",
    ),
    Option(
        "mend",
        "bool",
        "after a failed accuracy gate look for a recipe that holds the limit, and measure it",
    ),
    Option("mend_seconds", "float", "what one such search may take; default 300", "S"),
    Option(
        "cache",
        "string",
        "folder in which builds and evaluations are kept for the next run; default pytest's own cache",
        "DIR",
    ),
    Option("durations", "bool", "show how many seconds each stage of each variant took"),
    *(Option(name, "float", f"limit: {limit.means}", "X") for name, limit in LIMITS.items()),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option, for the command line and for ini."""
    group = parser.getgroup("quant", "quantization gates (pytest-quant)")
    group.addoption("--quant", action="store_true", dest="quant", help="build, measure and judge "
                    "quantized variants; without it, their tests are skipped")  # fmt: skip
    group.addoption("--no-quant", action="store_true", dest="no_quant", help="as without --quant, "
                    "whatever ini says")  # fmt: skip
    group.addoption("--no-quant-cache", action="store_true", dest="no_quant_cache", help="build and "
                    "evaluate all anew, and keep nothing for the next run")  # fmt: skip
    group.addoption("--quant-artefact", action="append", dest="quant_artefact", metavar="NAME=PATH",
                    help="judge a file of another runtime (.onnx, .xml, .pte, .tflite) as variant NAME, "
                    "a parameter of quant_variant; PATH is taken from rootdir")  # fmt: skip
    parser.addini("quant", "run quantization gates, as --quant does", type="bool", default=False)
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
            f"{', '.join(given)} says nothing without --quant (or quant = true)"
        )


def _for_argparse(text: str) -> str:
    """A help text in which argparse finds nothing to format."""
    return text.replace("%", "%%")
