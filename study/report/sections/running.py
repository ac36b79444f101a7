"""What goes on while a study runs: failures first, then the running stages with their curves."""

import time
from collections.abc import Sequence

from matplotlib.figure import Figure as Canvas

from study.report import drawing
from study.report.blocks import Figure, Section, Table, columns, label, number
from study.stages.progress import Progress, StageProgress, counts, duration

SAYS = (
    "{clock}: {counts}.{notice} This section is written every half minute. The others show what had ended at {as_of}; "
    "they are drawn again as stages end."
)
MOST_CURVES, NUM_COLUMNS = 12, 4


def clock() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())


def section(progress: Progress, as_of: str) -> Section:
    """The study as its command sees it now; `as_of`: when the other sections were drawn."""
    notice = f" {progress.notice[:1].upper()}{progress.notice[1:]}." if progress.notice else ""
    failed = [*progress.of_state("failed"), *progress.of_state("skipped")]
    running = progress.of_state("running")
    blocks: list[Table | Figure] = [_failures(failed)] if failed else []
    blocks += [_running(running)] if running else []
    elsewhere = progress.of_state("elsewhere")
    blocks += [_elsewhere(elsewhere)] if elsewhere else []
    blocks += _curves([entry for entry in running if len(_losses(entry)) > 1])
    says = SAYS.format(clock=clock(), counts=counts(progress), notice=notice, as_of=as_of)
    return Section(key="under-way", title="Under way", says=says, blocks=blocks)


def _failures(failed: Sequence[StageProgress]) -> Table:
    rows = [[label(entry.stage.label), label(entry.state), label(entry.error)] for entry in failed]
    head = columns("stage", "state", "cause", words=3)
    return Table(
        key="failures", caption="Stages that failed, and stages that need them.", columns=head, rows=rows, sql=[]
    )


def _running(running: Sequence[StageProgress]) -> Table:
    now = time.monotonic()
    rows = [
        [
            label(entry.stage.label),
            number(entry.latest.get("step")),
            number(entry.latest.get("num_steps")),
            label(_metric(entry)),
            label(duration(now - (entry.started_at or now))),
        ]
        for entry in running
    ]
    head = [*columns("stage"), *columns("step", "of", words=0), *columns("validation", "for", words=2)]
    return Table(key="running", caption="Running stages, as last reported.", columns=head, rows=rows, sql=[])


def _elsewhere(entries: Sequence[StageProgress]) -> Table:
    rows = [[label(entry.stage.label), label(entry.holder)] for entry in entries]
    caption = "Stages that another command on this store is training. This one waits for their results."
    return Table(key="elsewhere", caption=caption, columns=columns("stage", "by", words=2), rows=rows, sql=[])


def _metric(entry: StageProgress) -> str:
    latest = entry.latest
    return f"{latest['metric']} {latest['value']:.4g}" if "metric" in latest else "none yet"


def _losses(entry: StageProgress) -> list[tuple[int, float]]:
    return [(epoch["step"], epoch["train_loss"]) for epoch in entry.epochs if "train_loss" in epoch]


def _curves(running: Sequence[StageProgress]) -> list[Figure]:
    """The training loss of running stages, by optimiser step."""
    shown = running[:MOST_CURVES]
    if not shown:
        return []
    num_rows = -(-len(shown) // NUM_COLUMNS)

    def paint(canvas: Canvas) -> None:
        panels = canvas.subplots(num_rows, NUM_COLUMNS, squeeze=False).ravel()
        for axes in panels[len(shown) :]:
            axes.set_visible(False)
        for axes, entry in zip(panels, shown, strict=False):
            axes.plot(*zip(*_losses(entry), strict=True), color=drawing.SERIES[0], linewidth=1.4)
            axes.set_xlim(0, entry.latest.get("num_steps"))
            axes.set_title(drawing.wrapped(entry.stage.label, 26), fontweight="normal", fontsize=7)
            axes.tick_params(labelsize=7, length=2)
            axes.locator_params(nbins=3)
            drawing.light_grid(axes, "y")

    rest = f" The first {MOST_CURVES} of {len(running)}." if len(running) > MOST_CURVES else ""
    caption = f"Running stages: training loss by optimiser step.{rest}"
    alt = "Training losses of the running stages; their last numbers are in the table above."
    return [drawing.draw("running", caption, alt, paint, height=0.35 + 1.35 * num_rows)]
