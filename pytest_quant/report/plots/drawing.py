"""Drawing: a matplotlib figure as inline SVG in the page's colours, with texts that stay texts.

matplotlib sees neither the page's colours nor anybody's names: it gets stand-ins, which are replaced
in the SVG. So `$` starts no formula, no glyph is missing from its font, and light and dark fit.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from pytest_quant.report.text import clipped

WIDTH = 400  # of every figure, in the SVG's own pixels; a phone shows about as many
FONT = 11
INK, MUTED, RULE, FP32 = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#0b00{index:02x}" for index in range(6))
_VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", FP32: "--fp32"} | {
    colour: f"--series-{index}" for index, colour in enumerate(SERIES)
}
_NOTHING = {"Date": None, "Creator": None, "Format": None, "Type": None}


@contextmanager
def own_style() -> Iterator[None]:
    """In which one draws: whatever a matplotlibrc says, the same report looks the same; no trace after."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "pytest-quant"})
        yield


class Drawing:
    """One figure of `WIDTH` pixels, drawn within `own_style`.

    Args:
        height: in pixels.
        plotted: pixels left of, above, right of and below the axes. Without it one draws in pixels,
            from the top left corner, and no axes are seen.
    """

    def __init__(self, height: float, plotted: tuple[float, float, float, float] | None = None):
        from matplotlib.figure import Figure

        self.height = height
        self._texts: list[str] = []
        self.figure = Figure(figsize=(WIDTH / 72, height / 72))
        self.figure.patch.set_visible(False)
        left, top, right, bottom = plotted or (0, 0, 0, 0)
        box = (
            left / WIDTH,
            bottom / height,
            1 - (left + right) / WIDTH,
            1 - (top + bottom) / height,
        )
        self.axes: Any = self.figure.add_axes(box)
        self.axes.patch.set_visible(False)
        if plotted is None:
            self.axes.set_axis_off()
            self.axes.set_xlim(0, WIDTH)
            self.axes.set_ylim(height, 0)
        else:
            self.axes.spines[["top", "right"]].set_visible(False)
            self.axes.spines[["left", "bottom"]].set_color(RULE)
            self.axes.tick_params(colors=MUTED, labelsize=FONT, length=0, pad=6)

    def text(self, x: float, y: float, text: str, **how: Any) -> None:
        """A text at these coordinates; somebody's name may be in it."""
        self._texts.append(text)
        settings = {"color": INK, "fontsize": FONT, "va": "center"} | how
        self.axes.text(x, y, f"%{len(self._texts) - 1}%", **settings)

    def line(self, xs: Sequence[float], ys: Sequence[float], color: str, **how: Any) -> None:
        """A line through these points."""
        self.axes.plot(xs, ys, color=color, **({"linewidth": 1, "clip_on": False} | how))

    def mark(self, x: float, y: float, color: str, marker: str, size: float) -> None:
        """A variant's mark, see-through, so that those in one place are all seen; FP32's is hollow."""
        self.axes.plot(
            [x], [y], linestyle="none", marker=marker, markersize=size, clip_on=False, color="none",
            markeredgecolor=color, markeredgewidth=1.6,
        )  # fmt: skip
        if color != FP32:
            self.axes.plot(
                [x], [y], linestyle="none", marker=marker, markersize=size, clip_on=False,
                color=color, markeredgewidth=0, alpha=0.35,
            )  # fmt: skip

    def svg(self, name: str, title: str, description: str) -> str:
        """The figure as an SVG element.

        Args:
            name: for its ids, which no other element of the page has.
            title: for those who do not see it: what it shows.
            description: the numbers in it.
        """
        file = io.StringIO()
        self.figure.savefig(file, format="svg", metadata=_NOTHING)
        drawn = file.getvalue()
        drawn = drawn[drawn.index("<svg") :]
        drawn = re.sub(r"<style.*?</style>", "", drawn, flags=re.S)
        drawn = re.sub(r"font-family: [^;\"]*;? ?", "", drawn)
        drawn = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", drawn)
        drawn = re.sub(r"#0[0-4b]0[0-9a-f]0[0-9a-f]", _as_variable, drawn)
        drawn = re.sub(r'\bid="', f'id="{name}-', drawn)
        drawn = re.sub(r'(xlink:href="|url\()#', rf"\g<1>#{name}-", drawn)
        drawn = re.sub(r">%(\d+)%<", lambda m: f">{escape(self._texts[int(m[1])])}<", drawn)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {WIDTH} {self.height:g}" role="img" '
            f'aria-labelledby="{name}-title {name}-description">'
            f'<title id="{name}-title">{escape(clipped(title, 200))}</title>'
            f'<desc id="{name}-description">{escape(clipped(description, 2000))}</desc>'
        )
        return head + drawn[drawn.index(">") + 1 :]


def _as_variable(match: re.Match[str]) -> str:
    variable = _VARIABLES.get(match[0])
    return f"var({variable})" if variable else match[0]
