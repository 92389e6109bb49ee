"""Report: all measurements, verdicts and tests of a run as plain data."""

import json
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from pytest_quant.baseline.row import Row
from pytest_quant.baseline.version import VERSION, same_digests
from pytest_quant.errors import in_brief
from pytest_quant.machine.json_text import parsed
from pytest_quant.report.choices import choices_of
from pytest_quant.report.joining import one_row
from pytest_quant.report.schema import checked_report
from pytest_quant.report.ship import may_ship, may_ship_each
from pytest_quant.variant.key import ModelKey, RowKey

EARLIER = (
    "the report was saved by an earlier version: it holds no digest of FP32's weights, and may not tell "
    "which tests were left out and which limits nobody judged"
)

WORST_FIRST = ("error", "failed", "inconclusive", "skipped", "xfailed", "xpassed", "passed")


@dataclass(slots=True)
class Report:
    """What `pytest_quant_report` gets, and what report.json holds.

    Args:
        environment: what decides comparability: versions, CPU, instruction set, threads, engine.
        rows: one for each variant of each model; kept by model, FP32 first.
        verdicts: in the order of the tests; each has the test's ``test``.
        interrupted: whether the run was stopped, so that rows and verdicts may be missing.
        tests: those of variants: ``nodeid``, ``outcome`` (as pytest has it, or ``inconclusive``),
            ``variants`` that it looked at, and of what failed the ``reason``.
        created: when the run was over, in UTC, as in ISO 8601; None outside pytest.
        since: what changed since a baseline, as `changes.since` gives it.
        notes: on the report as a whole.
        deselected: node ids of tests of variants that were, unless they are among `tests`.
        selected: how single tests were asked for: node ids, or ``--last-failed``.
        places: folders and files that the run was confined to.
        other_failures: node ids of failed tests that asked for no variant.
        mixed: why what is under one name may not be of one thing: the model's ``where``, ``model`` and
            ``model_ids`` (``model`` is None where it is all of them), and a ``text``.

    Attributes:
        version: of the form that it was read from.
    """

    environment: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False
    tests: list[dict[str, Any]] = field(default_factory=list)
    created: str | None = None
    since: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    deselected: list[str] = field(default_factory=list)
    selected: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    other_failures: list[str] = field(default_factory=list)
    mixed: list[dict[str, Any]] = field(default_factory=list)
    version: int = field(default=VERSION, init=False, compare=False)
    _places: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _known: dict[RowKey, Row] = field(default_factory=dict, init=False, repr=False, compare=False)
    _models: dict[ModelKey, int] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        self.rows = [row if isinstance(row, Row) else Row.from_dict(row) for row in self.rows]
        self.rows = self.ordered()

    @classmethod
    def from_dict(cls, document: Any) -> "Report":
        """The report that `to_dict` made this of, or that was read from a report.json.

        Raises:
            ValueError: for a document of a higher version, of another program, or a damaged one;
                says where it is wrong.
        """
        known = checked_report(document)
        try:
            read = cls(**{name: known[name] for name in PARTS if name in known})
        except (KeyError, TypeError) as error:  # what the schema leaves open
            raise ValueError(f"the report is damaged: {in_brief(error)}") from None
        read.version = int(known["version"])
        if read.version == 1:
            read.notes = [EARLIER, *read.notes]
        return read

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The report in the text of a report.json.

        Raises:
            ValueError: as `from_dict`, and for a text that is no JSON.
        """
        try:
            document = parsed(text)
        except ValueError as error:
            raise ValueError(f"no report: the text is not JSON ({error})") from None
        return cls.from_dict(document)

    def add(self, payload: dict[str, Any]) -> None:
        """Take in what one test has measured; a later row of a variant knows more and wins."""
        self.environment.update(payload.get("environment") or {})
        for plain in payload.get("rows") or ():
            self._add_row(plain if isinstance(plain, Row) else Row.from_dict(plain))
        self.verdicts += payload.get("verdicts", ())

    def _add_row(self, row: Row) -> None:
        """Put a row where it belongs; one of a variant that is known is joined with what is known.

        Tests add theirs one by one, so rows are neither sorted nor looked through each time.
        """
        if len(self._known) != len(self.rows):
            self._known = {each.key: each for each in self.rows}
            self._models = {key: place for place, key in enumerate(self.rows_by_model())}
        known = self._known.get(row.key)
        if known is None:
            insort(self.rows, row, key=self._place_of)
        else:
            place = next(place for place, each in enumerate(self.rows) if each is known)
            self.rows[place], told = one_row(known, row)
            row = self.rows[place]
            for mixed in told:
                self.add_mixed(mixed)
        self._known[row.key] = row

    def add_mixed(self, mixed: dict[str, Any]) -> None:
        """Take in, once, why what is under one name may not be of one thing."""
        if mixed not in self.mixed:
            self.mixed.append(mixed)

    def _place_of(self, row: Row) -> tuple[int, int]:
        """By model, FP32 first, as `ordered`."""
        return self._models.setdefault(row.key.of_model, len(self._models)), _rank(row.variant)

    def add_test(self, test: dict[str, Any]) -> None:
        """Take in how a test ended. Of several phases, parts or runs of one test the worst counts,
        in whatever order they come: a failure is never replaced by a later pass."""
        if len(self._places) != len(self.tests):
            self._places = {known["nodeid"]: place for place, known in enumerate(self.tests)}
        place = self._places.setdefault(test["nodeid"], len(self.tests))
        if place == len(self.tests):
            self.tests.append(test)
            return
        known = self.tests[place]
        worse, other = sorted((known, test), key=lambda each: WORST_FIRST.index(each["outcome"]))
        looked_at = [*worse["variants"], *other["variants"]]
        once = {json.dumps(each, sort_keys=True): each for each in looked_at}
        self.tests[place] = {**other, **worse, "variants": list(once.values())}

    def add_selection(self, other: "Report") -> None:
        """Take in which part of the tests another run was of."""
        for name in ("deselected", "selected", "places", "other_failures"):
            known: list[str] = getattr(self, name)
            setattr(self, name, list(dict.fromkeys([*known, *getattr(other, name)])))
        for mixed in other.mixed:
            self.add_mixed(mixed)

    def ordered(self) -> list[Row]:
        """Rows by model, FP32 first, then in the order in which they came."""
        models: dict[ModelKey, int] = {}
        for row in self.rows:
            models.setdefault(row.key.of_model, len(models))
        return sorted(self.rows, key=lambda row: (models[row.key.of_model], _rank(row.variant)))

    def model_names(self) -> dict[ModelKey, str]:
        """The name to show of each model: its own, with the ids and the place of its inputs where
        these are what tells it from a namesake."""
        namesakes: dict[str, dict[ModelKey, None]] = {}
        for key in self._keys():
            namesakes.setdefault(key.model, {})[key.of_model] = None
        return {
            key: _shown(key.model, key.model_ids, key.where, counts)
            for keys in namesakes.values()
            if (counts := _Counts.of((key.model_ids, key.where) for key in keys))
            for key in keys
        }

    def variant_names(self) -> dict[RowKey, str]:
        """The name to show of each variant, with its ids where a namesake of its model has others."""
        namesakes: dict[tuple[ModelKey, str], dict[RowKey, None]] = {}
        for key in self._keys():
            namesakes.setdefault((key.of_model, key.variant), {})[key] = None
        return {
            key: _shown(key.variant, key.variant_ids, "", counts)
            for keys in namesakes.values()
            if (counts := _Counts.of((key.variant_ids, "") for key in keys))
            for key in keys
        }

    def _keys(self) -> Iterator[RowKey]:
        yield from (row.key for row in self.rows)
        yield from map(RowKey.of, self.verdicts)

    def rows_by_model(self) -> dict[ModelKey, list[Row]]:
        """The rows of each model."""
        found: dict[ModelKey, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.key.of_model, []).append(row)
        return found

    def verdicts_by_row(self) -> dict[RowKey, list[dict[str, Any]]]:
        """The verdicts on each row's variant."""
        found: dict[RowKey, list[dict[str, Any]]] = {}
        for verdict in self.verdicts:
            found.setdefault(RowKey.of(verdict), []).append(verdict)
        return found

    def verdicts_on(self, row: Row) -> list[dict[str, Any]]:
        """The verdicts on one row's variant."""
        return self.verdicts_by_row().get(row.key, [])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, with the form's version and, for other programs, the answer."""
        parts = {name: getattr(self, name) for name in PARTS}
        known = same_digests(self.version, VERSION)  # else another version would misread them
        parts["rows"] = [row.to_dict() | ({} if known else {"eval_set": None}) for row in self.rows]
        answer = {**may_ship(self).to_dict(), "models": [
            {**key.to_dict(), **each.to_dict()} for key, each in may_ship_each(self).items()
        ]}  # fmt: skip
        return {"version": VERSION, "may_ship": answer, **parts, "choices": choices_of(self)}

    def to_json(self) -> str:
        """The text of report.json. Numbers that JSON has no word for become null."""
        return json.dumps(finite(self.to_dict()), indent=2, allow_nan=False) + "\n"


class _Counts(NamedTuple):
    """How often each id and each place stands among the namesakes of a model or variant."""

    ids: Counter[str]
    places: Counter[str]

    @classmethod
    def of(cls, namesakes: Iterable[tuple[str, str]]) -> "_Counts":
        ids, places = zip(*namesakes, strict=True)
        return cls(Counter(ids), Counter(places))


def _shown(name: str, ids: str, where: str, all: _Counts) -> str:
    """A name with what tells it from its namesakes: ids, else place, else both; the whole repo is no
    place."""
    if all.ids.total() == 1:
        return name
    told = f"{name}[{ids}]" if ids and len(all.ids) > 1 else name
    if where and (all.ids[ids] > 1 or (not ids and len(all.places) > 1)):
        told = f"{told} ({where})"
    return told


def _rank(variant: str) -> int:
    order = ("fp32", "dynamic", "static", "qat")
    return order.index(variant) if variant in order else len(order)


PARTS = tuple(part.name for part in fields(Report) if part.init)


def finite(value: Any) -> Any:
    """The same plain value, in which numbers that JSON has no word for are None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value


def outcomes(verdicts: Iterable[dict[str, Any]]) -> str:
    """A cell's summary of verdicts: ``3 PASS``, or those that did not pass by name."""
    listed = list(verdicts)
    others = [f"{v['quantity']} {v['outcome']}" for v in listed if v["outcome"] != "PASS"]
    if others:
        return ", ".join(dict.fromkeys(others))
    return f"{len(listed)} PASS" if listed else ""
