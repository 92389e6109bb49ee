"""Settings: every option declared once, read once from the command line and ini."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pytest_quant.judge.limits import LIMITS, checked

INCONCLUSIVE = ("auto", "fail", "report")


class Option(NamedTuple):
    """One option: ``--quant-NAME`` on the command line, ``quant_NAME`` in ini."""

    name: str
    type: str  # of ini: string, int, float, bool
    help: str
    metavar: str | None = None

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
    Option("report", "string", "write report.json, report.md and report.csv into DIR", "DIR"),
    Option("format", "string", "table format of the summary, as tabulate names them", "NAME"),
    Option("engine", "string", "PyTorch's quantized engine: x86, onednn, ...", "NAME"),
    Option("threads", "int", "PyTorch's threads; default min(2, available cores)", "N"),
    Option(
        "latency_batch", "int", "samples in one timed call; default the first eval batch's", "N"
    ),
    Option("timing_seconds", "float", "what one speed gate may take; default 30", "S"),
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
    *(Option(name, "float", f"limit: {unit}", "X") for name, (unit, _) in LIMITS.items()),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run was told, checked.

    Args:
        enabled: whether gates run at all.
        variants: names to run; None is all.
        all: whether every kind is built for each model.
        report: folder to write to.
        format: tabulate's table format.
        early_stop: whether accuracy may be decided on a part of the eval set.
        limits: from command line, then ini.
    """

    enabled: bool
    variants: tuple[str, ...] | None = None
    all: bool = False
    report: Path | None = None
    format: str = "simple"
    engine: str | None = None
    threads: int | None = None
    latency_batch: int | None = None
    timing_seconds: float = 30.0
    early_stop: bool = False
    inconclusive: str = "auto"
    limits: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: pytest.Config) -> "Settings":
        """Read and check all options.

        Raises:
            pytest.UsageError: names the option, what was given and what is allowed.
        """
        if not _enabled(config):
            _refuse_idle_options(config)
            return cls(False)
        from pytest_quant.recipe import ENGINES

        get = _reader(config)
        variants = get("variants")
        report = get("report")
        settings = cls(
            True,
            variants=_names(variants) if variants else None,
            all=bool(get("all")),
            report=None if not report else Path(config.rootpath, report),
            format=_one_of("format", get("format") or "simple", _table_formats()),
            engine=None if not (engine := get("engine")) else _one_of("engine", engine, ENGINES),
            threads=_positive("threads", get("threads")),
            latency_batch=_positive("latency_batch", get("latency_batch")),
            timing_seconds=_positive("timing_seconds", get("timing_seconds")) or 30.0,
            early_stop=bool(get("early_stop")),
            inconclusive=_one_of("inconclusive", get("inconclusive") or "auto", INCONCLUSIVE),
            limits=_limits(get),
        )
        if settings.report is not None:
            _check_folder(settings.report)
        return settings


def add_options(parser: pytest.Parser) -> None:
    """Declare every option, for the command line and for ini."""
    group = parser.getgroup("quant", "quantization gates (pytest-quant)")
    group.addoption("--quant", action="store_true", dest="quant", help="build, measure and judge "
                    "quantized variants; without it, their tests are skipped")  # fmt: skip
    group.addoption("--no-quant", action="store_true", dest="no_quant", help="as without --quant, "
                    "whatever ini says")  # fmt: skip
    parser.addini("quant", "run quantization gates, as --quant does", type="bool", default=False)
    types: dict[str, Callable[[str], Any]] = {"int": int, "float": float}
    for option in OPTIONS:
        if option.type == "bool":
            group.addoption(
                option.flag, action="store_const", const=True, dest=option.key, help=option.help
            )
        else:
            group.addoption(
                option.flag, dest=option.key, help=option.help, metavar=option.metavar,
                type=types.get(option.type), default=None,
            )  # fmt: skip
        parser.addini(option.key, option.help, type=option.type, default=None)  # type: ignore[arg-type]


def _enabled(config: pytest.Config) -> bool:
    if config.getoption("no_quant"):
        return False
    return bool(config.getoption("quant") or config.getini("quant"))


def _refuse_idle_options(config: pytest.Config) -> None:
    given = [option.flag for option in OPTIONS if config.getoption(option.key) is not None]
    if given and not config.getoption("no_quant"):
        raise pytest.UsageError(
            f"{', '.join(given)} says nothing without --quant (or quant = true)"
        )


def _reader(config: pytest.Config) -> Callable[[str], Any]:
    def get(name: str) -> Any:
        given = config.getoption(f"quant_{name}")
        if given is not None:
            return given
        try:
            return config.getini(f"quant_{name}")
        except (TypeError, ValueError, pytest.UsageError) as error:
            raise pytest.UsageError(f"quant_{name} in ini: {error}") from None

    return get


def _limits(get: Callable[[str], Any]) -> dict[str, float]:
    limits = {}
    for name in LIMITS:
        value = get(name)
        if value is not None:
            try:
                limits[name] = checked(name, value)
            except (TypeError, ValueError) as error:
                raise pytest.UsageError(f"quant: {error}") from None
    return limits


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise pytest.UsageError(f"--quant-variants is {text!r}; expected names such as static,qat")
    return names


def _one_of(name: str, given: str, allowed: tuple[str, ...]) -> str:
    if given not in allowed:
        raise pytest.UsageError(f"quant_{name} is {given!r}; allowed: {', '.join(allowed)}")
    return given


def _positive(name: str, given: Any) -> Any:
    if given is not None and not 0 < given < float("inf"):
        raise pytest.UsageError(f"quant_{name} is {given!r}; a positive number is expected")
    return given


def _table_formats() -> tuple[str, ...]:
    from tabulate import tabulate_formats

    return tuple(tabulate_formats)


def _check_folder(folder: Path) -> None:
    from pytest_quant.report.files import refuse_unwritable

    try:
        refuse_unwritable(folder)
    except OSError as error:
        raise pytest.UsageError(f"quant_report: cannot write to {folder}: {error}") from None
