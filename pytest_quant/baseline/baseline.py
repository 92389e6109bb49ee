"""Baseline: the numbers and scores of one run, saved under a name, reviewed and committed as JSON."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pytest_quant.baseline.fit import refuse_unfit
from pytest_quant.baseline.packing import (
    Array,
    Packed,
    fingerprint_of_packed,
    unpack_samples,
    unpack_scores,
)
from pytest_quant.baseline.row import MetricScore, Row, kept
from pytest_quant.baseline.version import VERSION, later_version
from pytest_quant.errors import terminal_safe
from pytest_quant.machine.atomic_write import LONGEST_NAME
from pytest_quant.machine.json_text import read_json
from pytest_quant.variant.key import RowKey

FORM = "pytest-quant baseline"
FOLDER = Path("reports", "baselines")  # by default
# What is kept of a verdict.
VERDICT = (
    "where",
    "model",
    "variant",
    "model_ids",
    "variant_ids",
    "gate",
    "quantity",
    "metric",
    "outcome",
    "limit",
    "observed",
    "test",
)
NAME = re.compile(r"\w([\w .+=@-]{0,98}[\w+=@-])?")
# What must be equal for two speed-ups to be compared; milliseconds never are.
DECISIVE = ("cpu", "isa", "vnni", "cores", "threads", "torch", "engine", "system")

UNKEPT: dict[str, Any] = {
    "seconds": {},
    "notes": [],
    "error": None,
}  # what a report's row has besides


class BaselineError(ValueError):
    """A baseline that is missing, damaged or says nothing here; one sentence with a remedy."""

    def __init__(self, sentence: str) -> None:
        super().__init__(terminal_safe(sentence))


class LaterBaselineError(BaselineError):
    """A baseline of a later version of the package, which is neither damaged nor to be replaced."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What `--quant-save=NAME` writes and a later run is compared with.

    It is pinned: nothing moves it but another `--quant-save`, whose change is reviewed like code.
    Were each run compared with the last one, losses of 1 % would add up unnoticed.

    Args:
        name: what it was saved as.
        environment: under what it was measured, as in the report.
        rows: as in the report, without notes and errors.
        scores: of each row metric -> packed scores, in the order of its eval set's samples.
        eval_sets: fingerprint -> the packed samples, once for all variants.
        verdicts: gates with their limits and outcomes, as in the report but for sentence and
            evidence.
        version: of the form that it was read from. One of version 1 has no digest of FP32's weights, and
            may have neither verdicts nor ids of parameters.
    """

    name: str
    environment: Mapping[str, Any]
    rows: tuple[Row, ...]
    scores: Mapping[RowKey, Mapping[str, Packed]]
    eval_sets: Mapping[str, str]
    verdicts: tuple[Mapping[str, Any], ...] = ()
    version: int = field(default=VERSION, compare=False)

    def row(self, key: RowKey) -> Row | None:
        """The row of a variant; None where there is none."""
        return next((row for row in self.rows if row.key == key), None)

    def scores_of(self, row: Row) -> Mapping[str, Packed]:
        """The packed scores of a row by metric."""
        return self.scores.get(row.key, {})

    def samples(self, fingerprint: str) -> set[bytes]:
        """The digests of an eval set's samples."""
        return set(unpack_samples(self.eval_sets[fingerprint]))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "form": FORM,
            "version": VERSION,
            "name": self.name,
            "environment": dict(self.environment),
            "rows": [_kept(row) | {"scores": dict(self.scores_of(row))} for row in self.rows],
            "eval_sets": dict(self.eval_sets),
            "verdicts": [dict(verdict) for verdict in self.verdicts],
        }

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, plain: Any) -> "Baseline":
        """From plain JSON types, all of which are checked.

        Raises:
            BaselineError: says what is wrong, as a clause.
        """
        if not isinstance(plain, dict) or plain.get("form") != FORM:
            raise BaselineError("it is not a baseline of pytest-quant")
        version = plain.get("version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise BaselineError(f"its version is {version!r}")
        if why := later_version(plain):
            raise LaterBaselineError(f"it {why}")
        try:
            rows, eval_sets = _of(list, plain["rows"]), _of(dict, plain["eval_sets"])
            _check(rows, eval_sets)
            environment = _of(dict, plain["environment"])
            _of(int, environment.get("workers", 1))
            made = cls(
                str(plain["name"]),
                environment,
                tuple(map(_row, rows)),
                {RowKey.of(row): row.get("scores", {}) for row in rows},
                eval_sets,
                tuple(_verdict(verdict) for verdict in _of(list, plain.get("verdicts", []))),
                version,
            )
        except KeyError as error:
            raise BaselineError(f"it is damaged: {error} is missing") from None
        except (TypeError, ValueError) as error:
            raise BaselineError(f"it is damaged: {error}") from None
        return made


def load(name: str, folder: Path) -> Baseline:
    """The baseline saved under a name.

    Raises:
        BaselineError: when there is none, or it cannot be read.
    """
    path = path_of(name, folder)
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in folder.glob("*.json"))) or "none at all"
        raise BaselineError(
            f"there is no baseline {name!r} in {folder} (there is: {there}); save one by "
            f"pytest --quant --quant-save={name}"
        )
    return read(path)


def read(path: Path) -> Baseline:
    """The baseline in a file.

    Raises:
        BaselineError: when it cannot be read.
    """
    remedy = "restore it, or save it again by --quant-save"
    try:
        plain = read_json(path)
    except (OSError, ValueError) as error:
        raise BaselineError(f"baseline {path} cannot be read ({error}); {remedy}") from None
    try:
        return Baseline.from_dict(plain)
    except LaterBaselineError as error:
        raise LaterBaselineError(f"baseline {path} cannot be used: {error}") from None
    except BaselineError as error:
        raise BaselineError(f"baseline {path} cannot be used: {error}; {remedy}") from None


def path_of(name: str, folder: Path) -> Path:
    """The file of a name.

    Raises:
        BaselineError: for a name that is no plain file name, or that makes too long a one.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BaselineError(
            f"{name!r} is no name for a baseline; expected letters and digits, with .+=@_- and spaces "
            "between them, such as main or release-1.2"
        )
    path = folder / f"{name}.json"
    if (long := len(path.name.encode())) > LONGEST_NAME:
        raise BaselineError(
            f"{name!r} is too long a name for a baseline: its file's name would have {long} bytes, and "
            f"{LONGEST_NAME} are the most that a file system takes"
        )
    return path


def differences(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    names: Iterable[str] = DECISIVE,
    none: str = "unknown",
) -> list[str]:
    """What differs between two environments: ``threads 2 -> 1``; `none` stands for None."""
    return [
        f"{name} {_shown(before.get(name), none)} -> {_shown(now.get(name), none)}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _shown(value: Any, none: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return none if value is None else str(value)


def _verdict(plain: Any) -> Mapping[str, Any]:
    _of(dict, plain)
    for name in ("where", "model", "variant", "gate", "quantity", "outcome", "test"):
        _of(str, plain[name])
    for name in ("limit", "observed"):
        _of((float, int, type(None)), plain[name])
    return {name: plain[name] for name in VERDICT if name in plain}


def _row(plain: Mapping[str, Any]) -> Row:
    row = Row.from_dict(UNKEPT | {name: plain[name] for name in plain if name != "scores"})
    refuse_unfit(row)
    return row


def _kept(row: Row) -> dict[str, Any]:
    """What a baseline keeps of a row, as plain JSON types."""
    plain = row.to_dict()
    metrics = [{name: metric[name] for name in kept(MetricScore)} for metric in plain["metrics"]]
    return {name: plain[name] for name in kept(Row) if name in plain} | {"metrics": metrics}


def _check(rows: list[Any], eval_sets: Mapping[str, Any]) -> None:
    """Refuse what a later comparison would stumble over."""
    sizes = {}
    for fingerprint, packed in eval_sets.items():
        sizes[fingerprint] = len(unpack_samples(_of(str, packed)))
        if fingerprint_of_packed(packed) != fingerprint:
            raise ValueError(f"the samples of eval set {fingerprint} have another fingerprint")
    for row in rows:
        _of(dict, row)
        for name in ("where", "model", "variant"):
            _of(str, row[name])
        _of((dict, type(None)), row["recipe"])
        for metric in _of(list, row["metrics"]):
            for name, kind in (("name", str), ("unit", str), ("samples", int), ("of", int)):
                _of(kind, metric[name])
            _of(bool, metric["higher_is_better"])
            _of((float, int, type(None)), metric["value"])
        if (size := row["size"]) is not None:
            _of(int, size["tensor_bytes"])
        if (share := row["int8_share"]) is not None:
            _of((float, int, type(None)), share["parameters"])
            _of((float, int, type(None)), share["macs"])
        if (latency := row["latency"]) is not None:
            _of((float, int), latency["speedup"])
            _of(int, latency["batch"])
            if (interval := latency["interval_95"]) is not None:
                low, high = (_of((float, int), end) for end in _of(list, interval))
                if not 0 < low <= high:
                    raise ValueError(f"an interval from {low} to {high}")
        if (eval_set := row["eval_set"]) is not None:
            scores = {}
            for name, packed in _of(dict, row["scores"]).items():
                if sizes[eval_set["fingerprint"]] != eval_set["samples"]:
                    raise ValueError(f"eval set {eval_set['fingerprint']} has lost samples")
                scores[name] = unpack_scores(packed, eval_set["samples"])
            _check_values(row, scores)
    if len({RowKey.of(row) for row in rows}) < len(rows):
        raise ValueError("a variant has two rows")


def _check_values(row: Mapping[str, Any], scores: Mapping[str, Array]) -> None:
    """Refuse a value that is not the mean of its own scores, as where somebody has edited it."""
    for metric in row["metrics"]:
        each, value = scores.get(metric["name"]), metric["value"]
        if each is None or value is None or metric["samples"] != metric["of"]:
            continue
        with np.errstate(all="ignore"):
            mean = float(np.mean(each, dtype=np.float64))
            largest = float(np.abs(each).max(initial=1.0))
        if metric["unit"] == "perplexity":
            value = math.log(value) if value > 0 else math.nan
        if math.isfinite(mean) and not math.isclose(
            mean, value, rel_tol=1e-6, abs_tol=1e-9 * largest
        ):
            raise ValueError(
                f"{row['variant']} of {row['model']} has {metric['name']} {metric['value']:.6g}, which is "
                "not what its scores give"
            )


def _of(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r:.40} stands where something else belongs")
    return value
