"""Merging: one report of several, of which those that have a model in common must be of one run of it."""

import copy
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_quant.baseline.baseline import differences
from pytest_quant.baseline.misfits import EVAL_SET, RECIPE, WEIGHTS
from pytest_quant.baseline.row import Row
from pytest_quant.report.document import Report
from pytest_quant.variant.key import ModelKey, RowKey

Parts = Sequence[tuple[str, Report]]
Values = dict[str, dict[str, None]]  # what a fact was, and in which files
OF_A_RUN = ("torch", "engine", "commit")  # of an environment, what one run has one of
SHOWN = 12  # letters of a digest or commit


def merged(parts: Parts) -> Report:
    """One report of several: CI shards, or several models.

    Rows of one name become one row where all that is known of them is the same: FP32's weights, the eval
    set, the recipe, and of the run torch, engine and commit. What is measured twice and differs, what
    cannot be told, and parts of different commits leave the answer undecided. Neither answer nor refusal
    depends on the order.

    Args:
        parts: of each its name, for messages, and the report.

    Raises:
        ValueError: for parts that do not fit; one sentence that says what differs and what to do.
    """
    if unfit := list(_unfit(parts)):
        names = ", ".join(name for name, _ in parts)
        raise ValueError(
            f"{names} cannot be merged, since rows of one name would be of different things: "
            f"{'; '.join(unfit)}. Merge parts of one run of one model; compare shows two side by side"
        )
    (_, first), *others = parts
    whole = copy.deepcopy(first)
    for name, part in others:
        whole.add({"rows": part.rows, "verdicts": _not_yet(whole.verdicts, part.verdicts)})
        for test in part.tests:
            whole.add_test(test)
        whole.add_selection(part)
        whole.interrupted |= part.interrupted
        whole.created = max(filter(None, (whole.created, part.created)), default=None)
        whole.notes += part.notes
        if differ := differences(whole.environment, part.environment):
            models = ", ".join(dict.fromkeys(row.model for row in part.rows))
            whole.notes.append(f"{name} ({models}) is of another environment: {', '.join(differ)}")
    for mixed in _doubts(parts):
        whole.add_mixed(mixed)
    _tell_commits(whole, parts)
    whole.since = None
    return whole


def _not_yet(
    known: Iterable[dict[str, Any]], more: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Those verdicts that are not known yet: a test that two parts ran alike counts once."""

    def told(verdict: dict[str, Any]) -> str:
        return json.dumps(verdict, sort_keys=True, default=str)

    left, new = Counter(map(told, known)), []
    for verdict in more:
        if left[told(verdict)]:
            left[told(verdict)] -= 1
        else:
            new.append(verdict)
    return new


def _unfit(parts: Parts) -> Iterator[str]:
    """What must be the same of a model or variant that several parts have, and is not."""
    facts: dict[tuple[ModelKey | RowKey, str], Values] = {}
    for name, part in parts:
        for row in part.rows:
            if row.is_measured:
                for of, what, value in _facts(row, part.environment):
                    facts.setdefault((of, what), {}).setdefault(value, {})[name] = None
    for (of, what), values in facts.items():
        if len(values) > 1:
            told = [
                f"{each} in {' and '.join(values[value])}" for value, each in _told(what, values)
            ]
            yield f"{what} of {of.named()} ({', '.join(told)})"


def _facts(
    row: Row, environment: Mapping[str, Any]
) -> Iterator[tuple[ModelKey | RowKey, str, str]]:
    """What is known of a row that another part's row of its name must share: whose, what, and its value."""
    model = row.key.of_model
    if row.fp32_digest is not None:
        yield model, WEIGHTS, row.fp32_digest
    if row.eval_set is not None:
        yield model, EVAL_SET, f"{row.eval_set.samples} samples, {row.eval_set.fingerprint}"
    if row.recipe is not None:
        yield row.key, RECIPE, json.dumps(row.recipe, sort_keys=True)
    for name in OF_A_RUN:
        if environment.get(name) is not None:
            yield model, name, str(environment[name])


def _told(what: str, values: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each value with what a person is told of it, in a fixed order."""
    ordered = sorted(values)
    recipes = [json.loads(value) for value in ordered] if what == RECIPE else []
    for index, value in enumerate(ordered):
        if not recipes:
            yield value, value[:SHOWN] if what in (WEIGHTS, "commit") else value
            continue
        own, other = recipes[index], recipes[index - 1]
        names = [name for name in {**own, **other} if own.get(name) != other.get(name)]
        yield value, " and ".join(f"{name} {own.get(name)}" for name in names)


def _doubts(parts: Parts) -> Iterator[dict[str, Any]]:
    """Models of several parts of which not each tells whose weights it measured."""
    known: dict[ModelKey, dict[str, bool]] = {}
    for name, part in parts:
        for row in part.rows:
            if row.is_measured:
                of_part = known.setdefault(row.key.of_model, {})
                of_part[name] = of_part.get(name, True) and row.fp32_digest is not None
    for key, told in known.items():
        silent = sorted(name for name in told if not told[name])
        if silent and len(told) > 1:
            yield key.to_dict() | {
                "text": f"{' and '.join(silent)} holds no digest of FP32's weights, so nobody can tell "
                "whether its rows are of the same checkpoint as the other parts'"
            }


def _tell_commits(whole: Report, parts: Parts) -> None:
    """Of parts of different commits the answer on the whole is undecided: no commit was judged."""
    found: Values = {}
    for name, part in parts:
        if (commit := part.environment.get("commit")) is not None:
            found.setdefault(str(commit), {})[name] = None
    if len(found) > 1:
        told = ", ".join(
            sorted(f"{commit[:SHOWN]} in {' and '.join(found[commit])}" for commit in found)
        )
        whole.add_mixed({"model": None, "text": f"its parts are of different commits ({told})"})
        for name in ("commit", "dirty"):
            whole.environment.pop(name, None)
    elif len(parts) > 1:
        whole.environment |= {"commit": next(iter(found))} if found else {}
        dirty = sorted(name for name, part in parts if part.environment.get("dirty"))
        if dirty:
            whole.environment["dirty"] = True
            whole.notes.append(
                f"{' and '.join(dirty)} was measured with changes that are in no commit, so nobody can "
                "tell whether the parts are of the same code"
            )
