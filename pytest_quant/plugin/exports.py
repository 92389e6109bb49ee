"""Exports: what --quant-export leaves, the files of those variants that may ship and of no others.

A file is copied and tried in a process of its own when a test has used its variant, by whichever process
ran the test; whether it may ship is known at the end, to the one that gathers the report.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_quant.errors import QuantStageError, in_brief, terminal_safe
from pytest_quant.machine.atomic_write import write_atomically
from pytest_quant.machine.lock import taken_at_once
from pytest_quant.report.document import Report
from pytest_quant.report.ship import Answer, model_answers
from pytest_quant.runtimes.export import FORM, export, page_path, shipment_of, write_page
from pytest_quant.variant.key import RowKey, key_of
from pytest_quant.variant.variant import Variant

NAME = "model"  # of each file, without its suffix
STAGED, ASIDE, KEY = ".judging", ".before", "key.json"
LONGEST = 200  # bytes of the name of a folder
UNSAFE = re.compile(r"[^\w.+=-]+")  # in the name of a folder


@dataclass(slots=True)
class Exports:
    """The exports of one run.

    Args:
        folder: that they go to, one folder each.
        process: a name of this process, which no other of the run has.

    Attributes:
        failed: whether a file that may ship could not be exported.
    """

    folder: Path
    process: str
    failed: bool = False
    _staged: dict[RowKey, Path] = field(default_factory=dict)
    _unscored: set[RowKey] = field(default_factory=set)  # staged before they were evaluated
    _has_begun: bool = False

    def hold(self) -> Callable[[], None]:
        """Keep other runs out of the folder, until what this gives is called.

        Raises:
            UsageError: another run exports to it.
        """
        where = hashlib.blake2b(str(self.folder.resolve()).encode(), digest_size=8).hexdigest()
        release = taken_at_once(f"export-{where}")
        if release is None:
            raise pytest.UsageError(
                f"another run exports to {self.folder} at the moment, and each would remove the other's "
                "files; wait for it, or give this one another folder by --quant-export=DIR"
            )
        return release

    def clear(self) -> None:
        """Forget what a run that was killed has left half done; before any worker starts."""
        for name in (STAGED, ASIDE):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def begin(self) -> None:
        """Take the exports of an earlier run out of sight, so that none is taken for one of this run."""
        if self._has_begun:
            return
        self._has_begun = True
        for each in _exports_in(self.folder):
            with suppress(OSError):  # of another worker, which has done so
                aside = self.folder / ASIDE / each.name
                aside.parent.mkdir(exist_ok=True)
                shutil.rmtree(aside, ignore_errors=True)
                os.replace(each, aside)

    def stage(self, variants: Iterable[Variant]) -> None:
        """Copy the files of what a test has used, and try them; verdicts are added at the end."""
        for variant in variants:
            shipment, key = shipment_of(variant), key_of(variant)
            if variant.is_fp32 or shipment is None:
                continue
            is_evaluated = variant.measured("evaluation") is not None
            if key in self._staged:
                if is_evaluated and key in self._unscored:
                    with suppress(OSError):  # the page of before stands
                        write_page(variant, shipment, self._staged[key])
                    self._unscored.discard(key)
                continue
            place = self.folder / STAGED / f"{self.process}-{len(self._staged)}"
            self._staged[key] = place / f"{NAME}{shipment.suffix}"
            told: dict[str, Any] = {"key": key.to_dict()}
            try:
                place.mkdir(parents=True)
                export(variant, self._staged[key])
                if not is_evaluated:
                    self._unscored.add(key)
            except Exception as error:  # of a repo's forward too; other variants go on
                told["error"] = (
                    str(error) if isinstance(error, QuantStageError) else in_brief(error)
                )
            with suppress(OSError):  # which is told when it is looked for
                write_atomically(place / KEY, json.dumps(told))

    def finish(self, report: Report) -> list[str]:
        """Put what may ship in its place, and forget the rest; lines that say which is which."""
        judged = bool(report.rows or report.tests or report.interrupted)
        try:
            return list(self._finished(report)) if judged else []
        finally:
            self.clear()

    def _finished(self, report: Report) -> Iterator[str]:
        answers, names = model_answers(report), report.model_names()
        variants, verdicts = report.variant_names(), report.verdicts_by_row()
        found, modules = self._found(), list[str]()
        for row in report.rows:
            key, passed = row.key, [v for v in verdicts.get(row.key, ()) if v["outcome"] == "PASS"]
            if row.variant == "fp32":
                continue
            name = f"{names.get(key.of_model, key.model)} {variants.get(key, key.variant)}"
            answer = answers.get(key.of_model)
            if key not in found and key in self._staged:
                self.failed = True
                yield f"ERROR: {name} was not exported: nothing could be written to {self.folder}"
            elif key not in found:
                modules += [name] if passed and row.error is None else []
            elif answer is None or answer.answer is not Answer.YES:
                yield f"not exported: {name}, since its model may not ship"
            elif not passed:
                yield f"not exported: {name}, since no gate has judged it"
            else:
                yield self._put(name, found[key], verdicts[key])
        if modules:
            yield (
                f"not exported: {', '.join(modules)}: PyTorch modules, which cannot be loaded without "
                "pytest-quant: use Variant.save, or build a file by flow='onnx' or flow='pt2e'"
            )

    def _found(self) -> dict[RowKey, list[Path]]:
        """The folders that all processes have made, by row."""
        found: dict[RowKey, list[Path]] = {}
        for path in sorted((self.folder / STAGED).glob(f"*/{KEY}")):
            key = RowKey.of(json.loads(path.read_text(encoding="utf-8"))["key"])
            found.setdefault(key, []).append(path.parent)
        return found

    def _put(self, name: str, places: list[Path], verdicts: list[dict[str, Any]]) -> str:
        told = [json.loads((place / KEY).read_text(encoding="utf-8")) for place in places]
        errors = [each["error"] for each in told if "error" in each]
        pages = [] if errors else [_page_in(place) for place in places]
        if not errors and len({page["variant_digest"] for page in pages}) > 1:
            errors.append(
                "each worker built a different one, so that none is what all gates have judged; run "
                "with -n 0, or keep all its tests on one worker"
            )
        if errors:
            self.failed = True
            return f"ERROR: {name} may ship and was not exported: {errors[0]}"
        page = max(pages, key=lambda each: each["eval_samples"] or 0)
        place, target = places[pages.index(page)], self.folder / self._label(name)
        (place / KEY).unlink()
        page["verdicts"] = verdicts
        main = place / next(iter(page["files"]))
        write_atomically(page_path(main), f"{json.dumps(page, indent=2)}\n")
        os.replace(place, target)
        files = ", ".join(page["files"])
        return f"exported: {name}: {files} in {terminal_safe(str(target))}"

    def _label(self, name: str) -> str:
        """A folder's name that nothing has, neither another export of the run nor what is the user's."""
        safe = UNSAFE.sub("-", name).encode()[:LONGEST].decode(errors="ignore")
        label = safe = safe.strip("-.") or "model"
        taken = {each.name.lower() for each in self.folder.iterdir()}
        number = 2
        while label.lower() in taken:
            label, number = f"{safe}-{number}", number + 1
        return label


def _exports_in(folder: Path) -> list[Path]:
    """The folders that an earlier run has left: those with a page of ours."""
    return [each for each in sorted(folder.glob("*")) if each.is_dir() and _is_ours(each)]


def _is_ours(place: Path) -> bool:
    try:
        return bool(_page_in(place)["form"] == FORM)
    except (OSError, ValueError, LookupError, TypeError, StopIteration):
        return False


def _page_in(place: Path) -> Any:
    """The page in the folder of one export."""
    page = next(place.glob(f"{NAME}.*.json"))
    return json.loads(page.read_text(encoding="utf-8"))
