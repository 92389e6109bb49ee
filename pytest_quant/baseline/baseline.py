"""Baseline: the numbers and scores of one run, saved under a name, reviewed and committed as JSON."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_quant.baseline.check import check, of_kind
from pytest_quant.baseline.fit import refuse_unfit
from pytest_quant.baseline.matching import matched
from pytest_quant.baseline.packing import (
    Packed,
    unpack_samples,
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
        """The row of a variant; None where there is none.

        In a file of version 1 a variant with ids of parameters has none, since that file may hold the
        numbers of any of its namesakes.
        """
        there = {row.key: row for row in self.rows}
        found = matched(there, [key], VERSION).get(key)
        return None if found is None else there[found]

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
            rows, eval_sets = of_kind(list, plain["rows"]), of_kind(dict, plain["eval_sets"])
            check(rows, eval_sets)
            environment = of_kind(dict, plain["environment"])
            of_kind(int, environment.get("workers", 1))
            made = cls(
                str(plain["name"]),
                environment,
                tuple(map(_row, rows)),
                {RowKey.of(row): row.get("scores", {}) for row in rows},
                eval_sets,
                tuple(_verdict(verdict) for verdict in of_kind(list, plain.get("verdicts", []))),
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
    """The baseline in a file, by whose name it is known, whatever it was when it was saved.

    Raises:
        BaselineError: when it cannot be read.
    """
    remedy = "restore it, or save it again by --quant-save"
    try:
        plain = read_json(path)
    except (OSError, ValueError) as error:
        raise BaselineError(f"baseline {path} cannot be read ({error}); {remedy}") from None
    try:
        return replace(Baseline.from_dict(plain), name=path.stem)
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
    of_kind(dict, plain)
    for name in ("where", "model", "variant", "gate", "quantity", "outcome", "test"):
        of_kind(str, plain[name])
    for name in ("limit", "observed"):
        of_kind((float, int, type(None)), plain[name])
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
