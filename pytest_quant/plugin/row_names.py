"""Row names: what a variant is called in the report, so that no name stands for two values."""

from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import Any

from pytest_quant.baseline.row import Row
from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.judge import recorder
from pytest_quant.plugin.asked import Asked
from pytest_quant.plugin.origins import Origins, is_digest
from pytest_quant.subject.inputs import FIXTURES, MODEL
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.key import RowKey


class RowNames:
    """The names that the rows of a run have.

    Args:
        origins: where the inputs came from.
    """

    def __init__(self, origins: Origins) -> None:
        self.origins = origins
        self._known: dict[RowKey, Hashable] = {}  # what each name stands for

    def of(self, subject: Subject, asked: Asked, has_name: bool) -> tuple[Subject, Asked]:
        """The Subject and what was asked of it, with what tells them from namesakes."""
        found = {
            each.fixture: origin
            for each in subject.inputs(asked.kind)
            if (value := getattr(subject, each.field)) is not None
            and (origin := self.origins.of(each.fixture, value))
        }
        identities = {FIXTURES[name].field: origin.identity for name, origin in found.items()}
        base = {name: origin for name, origin in found.items() if FIXTURES[name].kinds is None}
        own = [origin for name, origin in found.items() if name not in base]
        place = max((origin.place for origin in base.values()), key=lambda p: p.depth, default=None)
        in_name = found[MODEL].ids if MODEL in found and not has_name else ()
        ids = [each for origin in base.values() for each in origin.ids if each not in in_name]
        subject = replace(
            subject,
            where=place.where if place else "",
            ids="-".join(dict.fromkeys(ids)),
            identities=identities,
        )
        shared = {*in_name, *ids}
        more = [each for origin in own for each in origin.ids if each not in shared]
        more = more or [o.place.where for o in own if place and o.place.depth > place.depth]
        asked = replace(asked, ids="-".join(dict.fromkeys(filter(None, [asked.ids, *more]))))
        return self._told_apart(subject, asked)

    def _told_apart(self, subject: Subject, asked: Asked) -> tuple[Subject, Asked]:
        """With the test's own name where one name would stand for two values."""
        item = self.origins.item
        whose = RowKey(subject.where, subject.label, "fp32", subject.ids)
        identity: Hashable = subject.identity("fp32")
        if self._known.setdefault(whose, identity) != identity and item is not None:
            subject = replace(subject, where=item.nodeid)
        if asked.recipe is not None:
            identity = (subject.identity(asked.kind), asked.recipe)
            key = row_key(subject, asked)
            if self._known.setdefault(key, identity) != identity and item is not None:
                asked = replace(asked, ids=f"{asked.ids}-{item.nodeid}".strip("-"))
        return subject, asked

    def forget(self, identity: Hashable) -> None:
        """Let the names that stand for an input be taken by others."""
        for key in [key for key, whose in self._known.items() if identity in _flat(whose)]:
            del self._known[key]


def row_key(subject: Subject, asked: Asked) -> RowKey:
    """Of the row of what was asked for."""
    return RowKey(subject.where, subject.label, asked.name, subject.ids, asked.ids)


def note_failed(subject: Subject, asked: Asked, error: BaseException) -> None:
    """Give the running test a row of what could not be made."""
    is_ours = isinstance(error, QuantStageError)
    sentence = str(error) if is_ours else getattr(error, "__notes__", [in_brief(error)])[-1]
    recorder.current().failed.append(Row.blank(row_key(subject, asked), sentence))


def _flat(identity: Any) -> Iterator[Hashable]:
    yield identity
    if isinstance(identity, tuple) and not is_digest(identity):
        for part in identity:
            yield from _flat(part)
