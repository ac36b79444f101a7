"""Drawing: one style for all figures, and colours that follow the page from light to dark."""

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from study.report.blocks import MINUS, Figure

WIDTH = 6.9
# The colours by their part on the page; their hexadecimal digits also mark the parts inside a drawing.
INK, MUTED, RULE, PAPER = "#1f2429", "#68707a", "#d3d8de", "#fdfdfc"
# Okabe and Ito's colours, darkened where they would be too pale on paper.
SERIES = ("#0072b2", "#d55e00", "#00916e", "#b0619a", "#a87900", "#3f9ad0", "#7a6ff0", "#5b5b5b")
PARTS = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"} | {
    colour: f"c{place}" for place, colour in enumerate(SERIES, 1)
}
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 8,
    "axes.unicode_minus": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "savefig.transparent": False,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def draw(
    key: str, caption: str, alt: str, paint: Callable[[Canvas], None], *, height: float, width: float = WIDTH
) -> Figure:
    """A figure of this size in inches, drawn by `paint`."""
    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=(width, height), layout="constrained")
        paint(canvas)
    drawn = _saved(canvas, format="svg", metadata=_NO_METADATA)
    return Figure(
        key=key, caption=caption, alt=alt, svg=_inline(drawn.decode(), key), drawn=drawn, png=lambda: _png(canvas)
    )


def _png(canvas: Canvas) -> bytes:
    return _saved(canvas, format="png", dpi=200, facecolor="white", metadata={"Software": None})


def _saved(canvas: Canvas, **how: Any) -> bytes:
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A letter that the font lacks is shown by the reader's own font.
        warnings.filterwarnings("ignore", message="Glyph")
        sink = io.BytesIO()
        canvas.savefig(sink, **how)
    return sink.getvalue()


def _inline(svg: str, key: str) -> str:
    """The drawing inside a page: its own ids, colours as variables, no repeated declarations."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    body = re.sub(r'id="([^"]+)"', rf'id="{key}-\1"', body)
    body = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{key}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", body)
    body = re.sub(r' xmlns(:xlink)?="[^"]*"', "", body)
    body = re.sub(r'(<svg[^>]*?) width="([\d.]+)pt"', r'\1 style="--width:\2"', body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[\d.]+pt"', r'\1 aria-hidden="true"', body, count=1)
    body = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\d\.\d)\d+", r"\1", path[0]), body)
    body = re.sub(r'"[^"<>]*"', lambda quoted: re.sub(r"(\d\.\d{2})\d+", r"\1", quoted[0]), body)
    for colour, part in PARTS.items():
        body = body.replace(colour, f"var(--{part})")
    return re.sub(r"\n\s*", "\n", body)


def short(name: str, longest: int = 30) -> str:
    """A name that fits; a long one loses its middle."""
    if len(name) <= longest:
        return name
    head = (longest - 1) * 2 // 3
    return f"{name[:head].rstrip()}…{name[len(name) - (longest - 1 - head) :].lstrip()}"


def wrapped(name: str, width: int, lines: int = 2) -> str:
    """A name on a few lines."""
    return "\n".join(textwrap.wrap(name, width, max_lines=lines, placeholder=" …")) or name


def rows(axes: Axes, names: Sequence[str]) -> None:
    """One row for each name, the first at the top."""
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.spines["left"].set_visible(False)


def left_out(shown: int, there: int) -> str:
    """The end of a caption if not everything is drawn."""
    return f" The first {shown} of {there} are drawn." if there > shown else ""


def zero_line(axes: Axes) -> None:
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=0)


def light_grid(axes: Axes, axis: Any = "x") -> None:
    axes.grid(visible=True, axis=axis, color=RULE, linewidth=0.6, zorder=-1)
    axes.set_axisbelow(True)


def clipped_interval(axes: Axes, row: float, low: float, high: float, **line: Any) -> None:
    """A horizontal interval, with an arrow where it leaves the axes."""
    left, right = axes.get_xlim()
    axes.plot([max(low, left), min(high, right)], [row, row], solid_capstyle="butt", **line)
    colour = line.get("color", INK)
    for outside, place, marker in ((low < left, left, "<"), (high > right, right, ">")):
        if outside:
            axes.plot([place], [row], marker=marker, color=colour, markersize=4.5, clip_on=False, linewidth=0)


def reach_of(values: Sequence[float], *, least: float = 1e-3) -> float:
    """How far a scale around zero must reach to hold the values."""
    return 1.25 * max([abs(value) for value in values], default=least) or least


def plain(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", MINUS)
