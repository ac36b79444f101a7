"""Blocks: what a page is made of, before it is HTML, LaTeX or CSV."""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from study.statistics.over_seeds import Interval, Spread

Value = str | float | int | bool | None
MINUS = "\u2212"
WIDEST_UNBROKEN = 20


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell: its text, and the numbers behind it.

    Attributes:
        values: full-precision numbers, by the ending of their column's name in CSV.
        mark: stands outside the column, a star for example.
        small: what follows in small print.
        faint: whether it is greyed: missing or not significant.
    """

    text: str
    values: Mapping[str, Value] = field(default_factory=dict)
    mark: str = ""
    small: str = ""
    faint: bool = False


@dataclass(frozen=True, kw_only=True)
class Column:
    title: str
    number: bool = True


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells. `sql`: the questions that gave its numbers. `badge`: a warning that must not be overlooked."""

    key: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    sql: Sequence[str]
    note: str = ""
    badge: str = ""
    sortable: bool = False

    def width(self, column: int) -> int:
        """The letters that a column of words should have room for."""
        longest = max((len(row[column].text) for row in self.rows), default=0)
        return min(longest, WIDEST_UNBROKEN)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing: `svg` with colours that follow the page's; `drawn` and `png` make the files for other papers."""

    key: str
    caption: str
    alt: str
    svg: str
    drawn: bytes
    png: Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class Audio:
    """An excerpt to listen to; `mp3` is the whole file."""

    key: str
    caption: str
    mp3: bytes

    @property
    def address(self) -> str:
        """The file itself as a data address."""
        return f"data:audio/mpeg;base64,{base64.b64encode(self.mp3).decode()}"


Block = Table | Figure | Audio


@dataclass(frozen=True, kw_only=True)
class Section:
    """`says`: what it shows and what it cannot show. Without blocks it says why there are none."""

    key: str
    title: str
    says: str
    blocks: Sequence[Block] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """A report before it is written. `live`: the study runs and the page will be written again."""

    title: str
    studied: str
    answer: Sequence[str]
    sections: Sequence[Section]
    storage: str
    until: str
    live: bool = False

    @property
    def tables(self) -> list[Table]:
        return [block for section in self.sections for block in section.blocks if isinstance(block, Table)]

    @property
    def figures(self) -> list[Figure]:
        return [block for section in self.sections for block in section.blocks if isinstance(block, Figure)]


def label(text: str, *, faint: bool = False, small: str = "") -> Cell:
    """Words."""
    return Cell(text=text, faint=faint, small=small)


def number(value: float | None, digits: int = 0, *, unit: str = "") -> Cell:
    """One number with thousands apart, or a dash."""
    if value is None or not math.isfinite(value):
        return Cell(text="–", faint=True)
    return Cell(text=f"{value:,.{digits}f}{unit}".replace("-", MINUS), values={"": value})


def signed(value: float, digits: int) -> str:
    """With its sign, and a minus that is one."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def spread_cell(spread: Spread, *, digits: int, scale: float = 1.0, mark: str = "", small: str = "") -> Cell:
    """Mean ± sd, without the sd for one run."""
    mean, sd = spread.mean * scale, spread.sd * scale
    shown = f"{mean:.{digits}f}" + (f" ± {sd:.{digits}f}" if spread.num > 1 else "")
    return Cell(
        text=shown.replace("-", MINUS),
        values={"mean": mean, "sd": sd if spread.num > 1 else None, "n": spread.num},
        small=small,
        mark=mark,
    )


def interval_cell(interval: Interval | None, digits: int = 3) -> Cell:
    """[low, high], or a dash."""
    if interval is None:
        return Cell(text="–", faint=True)
    low, high = signed(interval.low, digits), signed(interval.high, digits)
    return Cell(text=f"[{low}, {high}]", values={"low": interval.low, "high": interval.high})


def difference_cell(difference: float | None, digits: int = 3, *, mark: str = "") -> Cell:
    """A signed number, or a dash."""
    if difference is None:
        return Cell(text="–", faint=True)
    return Cell(text=signed(difference, digits), values={"": difference}, mark=mark)


def p_cell(p: float | None) -> Cell:
    if p is None:
        return Cell(text="–", faint=True)
    return Cell(text="< 0.001" if p < 0.001 else f"{p:.3f}", values={"": p})


def columns(*titles: str, words: int = 1) -> list[Column]:
    """Columns of which the first `words` are text and the others numbers."""
    return [Column(title=title, number=place >= words) for place, title in enumerate(titles)]
