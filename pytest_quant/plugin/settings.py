"""Settings: every option read once, from the command line and ini, and checked."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_quant.baseline.baseline import FOLDER, Baseline, BaselineError, load, path_of
from pytest_quant.errors import in_brief
from pytest_quant.judge.limits import LIMITS, checked
from pytest_quant.machine.cell import Cell, cells_of_grid
from pytest_quant.variant.recipe import ENGINES

INCONCLUSIVE = ("auto", "fail", "report")
SHIFT_CHECKS = ("warn", "error", "off")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run was told, checked.

    Args:
        variants: names to run; None is all.
        all: whether every kind is built for each model.
        report: folder to write to.
        export: folder for the files of what may ship.
        junit: whether verdicts become properties of their tests.
        format: tabulate's table format.
        train_device: where the built-in QAT loop trains.
        calibration_shift: what tuning inputs that are unlike the eval inputs do.
        jobs: processes that evaluate, run by joblib's `jobs_backend`.
        early_stop: whether accuracy may be decided on a part of the eval set; never in a run that is
            saved, since a baseline has the scores of all samples.
        baselines: folder of the saved baselines.
        save: the name of the baseline to save this run as; `force` when it may be partial or red.
        compare: the baseline to show changes since.
        explain: whether every variant is looked into, layer by layer.
        explain_seconds: what a failed accuracy gate may take to say where it is lost.
        mend: whether a remedy is looked for after a failed accuracy gate; `mend_seconds` for each.
        cache: folder of what is kept for the next run; None for pytest's own cache.
        no_cache: whether nothing is kept.
        durations: whether the seconds of each stage are shown.
        limits: from command line, then ini.
    """

    variants: tuple[str, ...] | None = None
    all: bool = False
    report: Path | None = None
    export: Path | None = None
    junit: bool = False
    format: str = "simple"
    engine: str | None = None
    train_device: str | None = None
    threads: int | None = None
    jobs: int = 1
    jobs_backend: str = "loky"
    latency_batch: int | None = None
    latency_grid: tuple[Cell, ...] = ()
    timing_seconds: float = 30.0
    calibration_shift: str = "warn"
    early_stop: bool = False
    inconclusive: str = "auto"
    baselines: Path = FOLDER
    save: str | None = None
    force: bool = False
    compare: Baseline | None = None
    explain: bool = False
    explain_seconds: float = 30.0
    mend: bool = False
    mend_seconds: float = 300.0
    cache: Path | None = None
    no_cache: bool = False
    durations: bool = False
    limits: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: pytest.Config) -> "Settings":
        """Read and check all options.

        Raises:
            pytest.UsageError: names the option, what was given and what is allowed.
        """
        get = _reader(config)
        variants = get("variants")
        folder = _folder(config, "baselines", get) or config.rootpath / FOLDER
        save = config.getoption("quant_save")
        settings = cls(
            variants=_names(variants) if variants else None,
            all=bool(get("all")),
            report=_folder(config, "report", get),
            export=_folder(config, "export", get),
            junit=bool(get("junit")),
            format=_one_of("format", get("format") or "simple", _table_formats()),
            engine=None
            if not (engine := get("engine"))
            else _one_of("engine", engine, (*ENGINES, "auto")),
            train_device=_device(get("train_device")),
            threads=_positive("threads", get("threads")),
            jobs=_positive("jobs", get("jobs")) or 1,
            jobs_backend=_backend(get("jobs_backend") or "loky"),
            latency_batch=_positive("latency_batch", get("latency_batch")),
            latency_grid=_grid(get("latency_grid")),
            timing_seconds=_positive("timing_seconds", get("timing_seconds")) or 30.0,
            calibration_shift=_one_of(
                "calibration_shift", get("calibration_shift") or "warn", SHIFT_CHECKS
            ),
            early_stop=bool(get("early_stop")) and save is None,
            inconclusive=_one_of("inconclusive", get("inconclusive") or "auto", INCONCLUSIVE),
            baselines=folder,
            save=save,
            force=bool(config.getoption("quant_force")),
            compare=_baseline(get("compare"), folder),
            explain=bool(get("explain")),
            explain_seconds=_budget("explain_seconds", get("explain_seconds"), 30.0),
            mend=bool(get("mend")),
            mend_seconds=_positive("mend_seconds", get("mend_seconds")) or 300.0,
            cache=_folder(config, "cache", get),
            no_cache=bool(config.getoption("no_quant_cache")),
            durations=bool(get("durations")),
            limits=_limits(get),
        )
        if settings.report is not None:
            _check_folder("report", settings.report)
        if settings.export is not None:
            _check_folder("export", settings.export)
        if settings.cache is not None and not settings.no_cache:
            _check_folder("cache", settings.cache)
        if settings.jobs == 1 and config.getoption("quant_jobs_backend") is not None:
            raise pytest.UsageError(
                "--quant-jobs-backend has no effect without --quant-jobs=N, N from 2 on"
            )
        _check_save(settings)
        return settings


def _reader(config: pytest.Config) -> Callable[[str], Any]:
    def get(name: str) -> Any:
        given = config.getoption(f"quant_{name}")
        if given is not None:
            return given
        try:
            return config.getini(f"quant_{name}")
        except (TypeError, ValueError, pytest.UsageError) as error:
            means = f"; expected {LIMITS[name].means}" if name in LIMITS else ""
            raise pytest.UsageError(f"quant_{name} in ini: {error}{means}") from None

    return get


def _folder(config: pytest.Config, name: str, get: Callable[[str], Any]) -> Path | None:
    """A path as its writer means it: on the command line from the current folder, in ini from rootdir."""
    given = get(name)
    if not given:
        return None
    is_typed = config.getoption(f"quant_{name}") is not None
    base = config.invocation_params.dir if is_typed else config.rootpath
    return Path(base, os.path.expanduser(given))


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


def _device(given: str | None) -> str | None:
    """A device as PyTorch calls it, whether this machine has one or not, which training tells."""
    if not given:
        return None
    import torch

    try:
        torch.device(given)
    except (RuntimeError, ValueError) as error:
        raise pytest.UsageError(
            f"quant_train_device is {given!r}; expected a device of PyTorch, as cuda or cuda:1: "
            f"{in_brief(error)}"
        ) from None
    return given


def _positive(name: str, given: Any) -> Any:
    if given is not None and not 0 < given < float("inf"):
        raise pytest.UsageError(f"quant_{name} is {given!r}; expected a positive number")
    return given


def _grid(given: str | None) -> tuple[Cell, ...]:
    try:
        return cells_of_grid(given) if given else ()
    except ValueError as error:
        raise pytest.UsageError(f"quant_latency_grid: {error}") from None


def _table_formats() -> tuple[str, ...]:
    from tabulate import tabulate_formats

    return tuple(tabulate_formats)


def _backend(name: str) -> str:
    """A backend that joblib knows, or Ray, which is told to it when it is used."""
    from importlib.util import find_spec

    from joblib.parallel import BACKENDS

    if name == "ray":
        if find_spec("ray") is None:
            raise pytest.UsageError(
                "quant_jobs_backend is 'ray', which is not installed: pip install 'pytest-quant[ray]'"
            )
        return name
    return _one_of("jobs_backend", name, ("ray", *sorted(BACKENDS)))


def _budget(name: str, given: float | None, usual: float) -> float:
    return 0.0 if given == 0 else _positive(name, given) or usual


def _baseline(name: str | None, folder: Path) -> Baseline | None:
    try:
        return load(name, folder) if name else None
    except BaselineError as error:
        raise pytest.UsageError(f"quant_compare: {error}") from None


def _check_save(settings: Settings) -> None:
    if settings.save is None:
        if settings.force:
            raise pytest.UsageError("--quant-force has no effect without --quant-save=NAME")
        return
    try:
        path = path_of(settings.save, settings.baselines)
    except BaselineError as error:
        raise pytest.UsageError(f"--quant-save: {error}") from None
    _check_folder("baselines", settings.baselines)
    try:
        os.stat(path)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # too long in this place, or not to be written in ASCII
        raise pytest.UsageError(f"--quant-save: {settings.save!r}: {error}") from None
    if not path.is_file():
        raise pytest.UsageError(f"--quant-save: {path} is there and is no file")


def _check_folder(option: str, folder: Path) -> None:
    from pytest_quant.machine.atomic_write import refuse_unwritable

    try:
        refuse_unwritable(folder)
    except OSError as error:
        raise pytest.UsageError(f"quant_{option}: cannot write to {folder}: {error}") from None
