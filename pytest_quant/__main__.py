"""The command line without pytest: show, compare and merge saved reports and baselines.

python -m pytest_quant show report.json
python -m pytest_quant compare before.json after.json
python -m pytest_quant merge shard-1.json shard-2.json --output report.json
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_quant.baseline.baseline import FORM, Baseline
from pytest_quant.baseline.change_words import is_change
from pytest_quant.baseline.changes import since
from pytest_quant.errors import in_brief
from pytest_quant.machine.json_text import read_json
from pytest_quant.report.baselines import Gathered, report_of
from pytest_quant.report.document import Report
from pytest_quant.report.merging import merged
from pytest_quant.report.text import printable
from pytest_quant.report.told import Told

FORMATS = ("table", "markdown", "html", "json")
SUFFIXES = {".md": "markdown", ".html": "html", ".htm": "html", ".json": "json"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 1 when `compare --fail-on-change` found changes; 2 when a file cannot be read or written
        (or, from argparse, when the arguments are wrong).
    """
    given = _parser().parse_args(arguments)
    _take_every_letter(given)
    try:
        report, code = given.run(given)
        _put(report, given)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError) as error:
        return _refused(str(error))
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
        return _refused(f"{_files(given)} cannot be worked with: {in_brief(error)}")
    return int(code)


def _refused(sentence: str) -> int:
    print(f"pytest-quant: {printable(sentence)}", file=sys.stderr)
    return 2


def _files(given: argparse.Namespace) -> str:
    """What was read."""
    named = [vars(given).get(name) for name in ("file", "before", "after")]
    return ", ".join(str(path) for path in [*named, *vars(given).get("files", ())] if path)


def show(given: argparse.Namespace) -> tuple[Report, int]:
    """A report as it was printed at the end of its run."""
    return _as_report(_read(given.file)), 0


def compare(given: argparse.Namespace) -> tuple[Report, int]:
    """The second file with a column of what changed since the first."""
    before, after = _read(given.before), _read(given.after)
    report = _as_report(after)
    report.since = since(_as_baseline(before, given.before), _as_baseline(after, given.after))
    changed = any(is_change(change) for change in report.since["changes"])
    return report, int(changed and given.fail_on_change)


def merge(given: argparse.Namespace) -> tuple[Report, int]:
    """One report of several: CI shards, or several models."""
    parts = []
    for path in given.files:
        part = _read(path)
        if isinstance(part, Baseline):
            raise ValueError(f"{path} is a baseline, which has no verdicts; merge takes reports")
        parts.append((str(path), part))
    return merged(parts), 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pytest_quant",
        description="Show, compare and merge what pytest --quant has measured.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    files = {
        show: (("file", None, "report.json, or a baseline"),),
        compare: (
            ("before", None, "report.json, or a baseline"),
            ("after", None, "the same or another model's, measured later"),
        ),
        merge: (("files", "+", "report.json of each shard or model"),),
    }
    for run, arguments in files.items():
        command = commands.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
        for name, count, text in arguments:
            command.add_argument(name, nargs=count, type=Path, help=text)
        command.add_argument(
            "--format",
            choices=FORMATS,
            help="default: by the suffix of the output, else table",
        )
        command.add_argument(
            "--output", type=Path, metavar="FILE", help="write to FILE instead of the terminal"
        )
        command.set_defaults(run=run)
        if run is compare:
            command.add_argument(
                "--fail-on-change", action="store_true", help="exit with 1 when anything differs"
            )
    return parser


def _read(path: Path) -> Report | Baseline:
    """The report or baseline in a file; of a folder its report.json.

    Raises:
        ValueError: when it is neither; names the file.
    """
    path = path / "report.json" if path.is_dir() else path
    try:
        plain = read_json(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    try:
        if isinstance(plain, dict) and plain.get("form") == FORM:
            return Baseline.from_dict(plain)
        return Report.from_dict(plain)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _as_report(read: Report | Baseline) -> Report:
    return report_of(read) if isinstance(read, Baseline) else read


def _as_baseline(read: Report | Baseline, path: Path) -> Baseline:
    """A report has no name of its own: its file's, or its folder's where that is report.json."""
    name = path.stem if path.stem != "report" else path.resolve().parent.name
    return read if isinstance(read, Baseline) else Gathered().baseline(name, read)


def _put(report: Report, given: argparse.Namespace) -> None:
    text = _text(report, _format(given)).rstrip("\n") + "\n"
    if given.output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    from pytest_quant.machine.atomic_write import write_atomically

    print(f"written: {write_atomically(given.output, text)}")


def _take_every_letter(given: argparse.Namespace) -> None:
    """Let standard output write what its encoding has not, in a locale of ASCII say, in another way."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        is_html = _format(given) == "html"
        sys.stdout.reconfigure(errors="xmlcharrefreplace" if is_html else "backslashreplace")


def _format(given: argparse.Namespace) -> str:
    return str(given.format or SUFFIXES.get(given.output.suffix if given.output else "", "table"))


def _text(report: Report, format: str) -> str:
    if format == "json":
        return report.to_json()
    if format == "html":
        from pytest_quant.report.html import html_of

        return html_of(report)
    if format == "markdown":
        from pytest_quant.report.markdown import markdown_of

        return markdown_of(report)
    from pytest_quant.report.terminal import answer_line, fitted, summary_lines

    told = Told()
    lines = [*summary_lines(report, "simple", told)]
    if report.verdicts or report.tests:
        lines += fitted(answer_line(report, told))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
