"""HTML: the report as one self-contained page, without scripts and without a request to anywhere."""

import warnings
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from pytest_quant.baseline.row import Row
from pytest_quant.report.choices import shown_choices
from pytest_quant.report.document import Report
from pytest_quant.report.durations import STAGES
from pytest_quant.report.flips import HEADS as FLIP_HEADS
from pytest_quant.report.flips import flip_tables
from pytest_quant.report.frame import frame_of
from pytest_quant.report.latency_grid import HEADS as GRID_HEADS
from pytest_quant.report.latency_grid import grid_lines
from pytest_quant.report.losses import losses_of
from pytest_quant.report.plots.models import ModelPlots, plots_of
from pytest_quant.report.ship import Answer, may_ship, may_ship_each, model_answers
from pytest_quant.report.slices import HEADS as SLICE_HEADS
from pytest_quant.report.slices import slice_tables
from pytest_quant.report.table import HEADS, RIGHT, attention_first, cells_of
from pytest_quant.report.terminal import header, notes
from pytest_quant.report.text import JOINTS, MOST_NAME, clipped, printable
from pytest_quant.report.verdict_cells import gates_of
from pytest_quant.variant.key import ModelKey, RowKey
from pytest_quant.variant.recipe import USED

ORDER = (Answer.NO, Answer.UNDECIDED, Answer.YES)
MOST_LINES = 300  # of a table of the page; the rest is in report.json
MOST_CHOICES = 40
WITHOUT_PLOTS = "The plots need matplotlib: pip install 'pytest-quant[html]'"
ENVIRONMENT = {
    "torch": "PyTorch",
    "engine": "Quantized engine",
    "threads": "Threads",
    "cores": "Cores",
    "cpu": "CPU",
    "isa": "Instruction set",
    "vnni": "VNNI",
    "python": "Python",
    "system": "System",
    "seed": "Seed",
    "workers": "pytest-xdist workers",
    "pytest_quant": "pytest-quant",
}


def html_of(report: Report, plots: Callable[[Report], list[ModelPlots]] = plots_of) -> str:
    """The page: the answer on top, the table, plots, gates with their evidence, how it all was made.

    Every name is escaped, wherever it stands. Without matplotlib the page has no plots and says so.

    Args:
        report: of the run.
        plots: draws the plots, or raises ImportError.
    """
    import jinja2

    page = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_fit_to_show,
        loader=jinja2.FunctionLoader(_file),
    ).get_template("page.html.jinja")
    drawn, missing = _plots(report, plots)
    heads, lines, left_out = _table(report)
    gates, notes_ = gates_of(report), list(notes(report))
    losses, losses_left_out = losses_of(report)
    slices, slices_left_out = slice_tables(report)
    flips, flips_left_out = flip_tables(report)
    names, who, choices = report.model_names(), _who(report), shown_choices(report)
    grid = grid_lines(report)
    recipes = [row for row in report.rows if row.recipe]
    return page.render(
        style=_as_markup(_file("page.css")),
        ship=may_ship(report),
        answers=_answers(report, names),
        header=header(report),
        heads=heads,
        right=RIGHT,
        known=HEADS,
        lines=lines,
        lines_left_out=left_out,
        grid_heads=GRID_HEADS,
        grid=grid[:MOST_LINES],
        grid_left_out=max(0, len(grid) - MOST_LINES),
        plots=[(each, [_as_markup(plot.svg) for plot in each.plots]) for each in drawn],
        plots_missing=missing,
        models_unplotted=max(0, len(names) - len(drawn)) if drawn else 0,
        gates=gates[:MOST_LINES],
        gates_left_out=max(0, len(gates) - MOST_LINES),
        slices=slices,
        slices_left_out=slices_left_out,
        slice_heads=SLICE_HEADS,
        flips=flips,
        flips_left_out=flips_left_out,
        flip_heads=FLIP_HEADS,
        losses=losses,
        losses_left_out=losses_left_out,
        as_markup=_as_markup,
        choices=choices[:MOST_CHOICES],
        choices_left_out=max(0, len(choices) - MOST_CHOICES),
        recipes=[(who[row.key], _settings(row)) for row in recipes[:MOST_LINES]],
        recipes_left_out=max(0, len(recipes) - MOST_LINES),
        seconds=_seconds(report, who),
        tests=report.tests[:MOST_LINES],
        tests_left_out=max(0, len(report.tests) - MOST_LINES),
        notes=notes_[:MOST_LINES],
        notes_left_out=max(0, len(notes_) - MOST_LINES),
        environment=_environment(report),
        created=_time(report.created),
        version=report.environment.get("pytest_quant", ""),
        short=lambda text: clipped(text, MOST_NAME),
        breaking=_breaking,
    )


def _answers(report: Report, names: dict[ModelKey, str]) -> dict[str, Any]:
    """What is to be said of the run as a whole, and of each model: name, answer, reasons."""
    named = {key: names.get(key, key.model) for key in may_ship_each(report)}
    of_models = {text for one in may_ship_each(report).values() for text in one.why}
    each = model_answers(report).items()
    models = [(named[key], one.answer, list(one.all_reasons)) for key, one in each]
    models.sort(key=lambda model: ORDER.index(model[1]))
    run = [text for text in may_ship(report).why if text not in of_models]
    return {"run": run, "models": models}


def _fit_to_show(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _breaking(name: Any) -> Any:
    """A name that may go on in the next line behind what joins its words, before any letter may."""
    from markupsafe import Markup, escape

    parts = JOINTS.split(printable(str(name)))
    return Markup("<wbr>").join(escape(part) for part in parts if part)


def _as_markup(text: str) -> Any:
    """What is our own, and HTML already."""
    from markupsafe import Markup

    return Markup(text)


def _file(name: str) -> str:
    return files("pytest_quant.report").joinpath(name).read_text(encoding="utf-8")


def _plots(
    report: Report, plots: Callable[[Report], list[ModelPlots]]
) -> tuple[list[ModelPlots], str]:
    try:
        with warnings.catch_warnings():  # matplotlib's are nothing to the reader of a test run
            warnings.simplefilter("ignore")
            return plots(report), ""
    except ImportError:
        return [], WITHOUT_PLOTS
    except Exception as error:  # a page without plots is worth more than none
        return [], f"The plots could not be drawn: {type(error).__name__}: {error}"


def _table(report: Report) -> tuple[dict[str, str], list[dict[str, str]], int]:
    frame = frame_of(report)
    if len(frame) > MOST_LINES:
        frame = attention_first(frame)
    heads, lines = cells_of(frame.head(MOST_LINES))
    return heads, lines, max(0, len(frame) - MOST_LINES)


def _who(report: Report) -> dict[RowKey, tuple[str, str]]:
    """The names to show of each row's model and variant."""
    names, variants = report.model_names(), report.variant_names()
    return {row.key: (names[row.key.of_model], variants[row.key]) for row in report.rows}


def _settings(row: Row) -> str:
    """A recipe in words, without what says nothing."""
    recipe = row.recipe or {}
    kind = str(recipe.get("kind"))
    used = USED.get(kind, tuple(recipe))
    said = [
        f"{name.replace('_', ' ')} {_setting(value)}"
        for name, value in recipe.items()
        if name in used and name != "kind" and value not in (None, [], "")
    ]
    return f"{kind.replace('_', ' ')}: {', '.join(said)}" if said else kind


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _seconds(report: Report, who: dict[RowKey, tuple[str, str]]) -> dict[str, Any]:
    rows = [row for row in report.rows if any(row.seconds.values())][:MOST_LINES]
    had = dict.fromkeys(stage for row in rows for stage in row.seconds)
    stages = sorted(had, key=lambda each: STAGES.index(each) if each in STAGES else len(STAGES))
    lines = [(who[row.key], [_amount(row.seconds.get(stage)) for stage in stages]) for row in rows]
    return {"stages": stages, "lines": lines}


def _amount(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f}" if seconds >= 10 else f"{seconds:.2f}"


def _environment(report: Report) -> list[tuple[str, str]]:
    known = report.environment
    named: Iterable[str] = [*ENVIRONMENT, *(name for name in known if name not in ENVIRONMENT)]
    return [
        (ENVIRONMENT.get(name, name.replace("_", " ").capitalize()), _setting(known[name]))
        for name in named
        if known.get(name) is not None
    ]


def _time(created: str | None) -> str:
    """``2026-11-21 10:18 UTC`` of ``2026-11-21T10:18:33+00:00``; any other text as it is."""
    try:
        return datetime.fromisoformat(created or "").astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return created or ""
