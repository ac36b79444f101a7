"""The stage graph: what was trained for which, how long it took, and what sharing saved."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path

from study.report import drawing
from study.report.blocks import Figure, Section, Table, columns, label, number
from study.report.facts import Facts

SAYS = (
    "Every stage is trained once, however many runs need it. Times are those of the attempts that count. They cannot "
    "be compared between machines, or between a busy and an idle machine."
)
LAYERS = {"separation": 0, "classification": 1, "finetuning": 2, "probe": 2}
TITLES = ("separation", "backend", "finetuning and probe")
# More boxes than this in one layer are not looked at.
MOST_BOXES = 24


@dataclass(frozen=True, kw_only=True)
class Box:
    """The stages that differ in their seed alone."""

    kind: str
    name: str
    parents: frozenset[str]
    states: Mapping[str, int]
    seconds: float
    compute: float

    @property
    def layer(self) -> int:
        return LAYERS.get(self.kind, 2)


def section(facts: Facts) -> Section | None:
    """Boxes by layer, and the account; without a stage that has begun there is none."""
    stages, sql = planned_stages(facts)
    if not stages:
        return Section(key="stages", title="The stage graph", says="No stage has ended yet.") if facts.runs else None
    boxes = grouped(stages)
    blocks: list[Table | Figure] = [_figure(boxes), _account(facts, stages, sql), _table(boxes, sql)]
    return Section(key="stages", title="The stage graph", says=SAYS, blocks=blocks)


def planned_stages(facts: Facts) -> tuple[dict[str, dict[str, Any]], str]:
    """Identity -> the row of the attempt that counts, else of the last one, of every stage that a run plans."""
    accelerators = facts.has("stages", "gpus_per_worker") and facts.has("stages", "num_workers")
    gpus = "coalesce(TRY_CAST(gpus_per_worker AS DOUBLE) * TRY_CAST(num_workers AS DOUBLE), 0)" if accelerators else "0"
    workers = "coalesce(TRY_CAST(num_workers AS INTEGER), 1)" if facts.has("stages", "num_workers") else "1"
    sql = (
        f"SELECT stage, kind, label, state, error, parents, duration_s, cpu_s, {gpus} AS gpus, {workers} AS workers\n"
        "FROM stages\n"
        f"WHERE stage IN (SELECT unnest(stages) FROM runs WHERE {facts.planned(facts.arms)})\n"
        "ORDER BY stage, state = 'done', attempt"
    )
    return {row["stage"]: row for row in facts.ask(sql).rows}, sql


def grouped(stages: Mapping[str, Mapping[str, Any]]) -> list[Box]:
    """The stages that differ in their seed alone are one box."""
    members: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in stages.values():
        members.setdefault((row["kind"], box_name(row)), []).append(row)
    return [_box(kind, name, rows, stages) for (kind, name), rows in sorted(members.items(), key=lambda item: item[0])]


def box_name(row: Mapping[str, Any]) -> str:
    return re.sub(r",? *seed \d+$", "", row["label"]) or row["kind"]


def _box(kind: str, name: str, rows: Sequence[Mapping[str, Any]], stages: Mapping[str, Mapping[str, Any]]) -> Box:
    parents = {parent for row in rows for parent in dict(row["parents"] or ()).values() if parent in stages}
    states: dict[str, int] = {}
    for row in rows:
        states[row["state"]] = states.get(row["state"], 0) + 1
    return Box(
        kind=kind,
        name=name,
        parents=frozenset(box_name(stages[parent]) for parent in parents),
        states=states,
        seconds=sum(row["duration_s"] or 0 for row in rows),
        compute=sum(compute_of(row)[0] for row in rows),
    )


def compute_of(row: Mapping[str, Any]) -> tuple[float, str]:
    """GPU-seconds where it had GPUs, else CPU-seconds: of the worker that kept the attempt, times their number."""
    if row["gpus"]:
        return row["gpus"] * (row["duration_s"] or 0), "GPU"
    return row["workers"] * (row["cpu_s"] or 0.0), "CPU"


def _account(facts: Facts, stages: Mapping[str, Mapping[str, Any]], sql: str) -> Table:
    """What was trained, and what it would have been if every run trained its own."""
    unit = "GPU" if any(row["gpus"] for row in stages.values()) else "CPU"
    alone = [stages[stage] for run in facts.runs for stage in run["stages"] if stage in stages]
    planned = {stage for run in facts.runs for stage in run["stages"]}
    rows = [
        [label("trained once"), *_sums(list(stages.values()), unit)],
        [label("if every run trained its own"), *_sums(alone, unit)],
    ]
    saved = 1 - sum(row["duration_s"] or 0 for row in stages.values()) / max(
        sum(row["duration_s"] or 0 for row in alone), 1e-9
    )
    missing = len(planned) - len(stages)
    note = f"Sharing saved {100 * saved:.0f} % of the time." + (
        f" {missing} of {len(planned)} stages have not ended." if missing else ""
    )
    head = columns("", "stages", "hours", f"{unit}-hours")
    return Table(key="sharing", caption="What sharing stages saved.", columns=head, rows=rows, sql=[sql], note=note)


def _sums(rows: Sequence[Mapping[str, Any]], unit: str):
    seconds = sum(row["duration_s"] or 0 for row in rows)
    compute = sum(value for value, kind in map(compute_of, rows) if kind == unit)
    return [number(len(rows)), number(seconds / 3600, 2), number(compute / 3600, 2)]


def _table(boxes: Sequence[Box], sql: str) -> Table:
    rows = [
        [label(box.name), label(box.kind), label(states(box)), number(box.seconds, 1), number(box.compute, 1)]
        for box in sorted(boxes, key=lambda box: box.layer)
    ]
    head = columns("stage", "kind", "seeds", "seconds", "CPU- or GPU-seconds", words=3)
    caption = "Stages that differ only in their seed are one row. Times are sums over seeds."
    return Table(key="stages", caption=caption, columns=head, rows=rows, sql=[sql], sortable=True)


def states(box: Box) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(box.states.items()))


def _figure(boxes: Sequence[Box]) -> Figure:
    layers = [[box for box in boxes if box.layer == layer][:MOST_BOXES] for layer in range(3)]
    tallest = max(map(len, layers))
    places = {
        (box.kind, box.name): (layer, (row + 0.5) * tallest / len(members))
        for layer, members in enumerate(layers)
        for row, box in enumerate(members)
    }

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.set(xlim=(-0.46, 2.46), ylim=(tallest, -0.55))
        axes.axis("off")
        by_name = {name: place for (_, name), place in places.items()}
        for layer, title in enumerate(TITLES):
            axes.text(layer, -0.3, title, ha="center", color=drawing.MUTED, style="italic")
        for box in (box for members in layers for box in members):
            for parent in sorted(box.parents & by_name.keys()):
                _edge(axes, by_name[parent], places[box.kind, box.name])
            _paint_box(axes, box, places[box.kind, box.name])

    left_out = sum(len([box for box in boxes if box.layer == layer]) - len(layers[layer]) for layer in range(3))
    rest = f" {left_out} further boxes are left out; the table has them." if left_out else ""
    return drawing.draw(
        "stage-graph",
        "A box stands for the stages that differ only in their seed, with their state and the sum of their times. "
        f"Lines show which stage starts from which.{rest}",
        "Boxes of stages in three layers joined by lines; the numbers are in the table below.",
        paint,
        height=0.5 + 0.52 * tallest,
    )


def _edge(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    left, right = (start[0] + 0.42, start[1]), (end[0] - 0.42, end[1])
    middle = (left[0] + right[0]) / 2
    path = Path([left, (middle, left[1]), (middle, right[1]), right], [1, 4, 4, 4])
    axes.add_patch(PathPatch(path, facecolor="none", edgecolor=drawing.MUTED, linewidth=0.7, alpha=0.55, zorder=0.5))


def _paint_box(axes: Axes, box: Box, place: tuple[float, float]) -> None:
    x, y = place
    failed, done = box.states.get("failed", 0), set(box.states) == {"done"}
    colour = drawing.SERIES[1] if failed else drawing.SERIES[0] if done else drawing.MUTED
    style = "round,pad=0,rounding_size=0.03"
    frame = FancyBboxPatch(
        (x - 0.42, y - 0.4), 0.84, 0.8, boxstyle=style, facecolor=drawing.PAPER, edgecolor=colour, linewidth=1.0
    )
    axes.add_patch(frame)
    short = box.name.removeprefix(f"{box.kind} ").removeprefix("backend ")
    axes.text(x, y - 0.08, drawing.wrapped(short, 31), ha="center", va="center", fontsize=7, linespacing=1.1)
    told = f"{states(box)} · {duration(box.seconds)}"
    axes.text(x, y + 0.29, told, ha="center", va="center", fontsize=6.2, color=colour)


def duration(seconds: float) -> str:
    """In the unit that suits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
