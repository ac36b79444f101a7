"""The progress of a study on the screen: live on a terminal, plain lines in a log."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import Progress as Bars
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.stages.progress import Progress, StageProgress, counts, duration

PLAIN_EVERY_S = 30.0
PLAIN_COLUMNS = 100


def terminal() -> Console:
    """The standard output. If it is no terminal and $COLUMNS is not set, it is wide enough for a table."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PLAIN_COLUMNS
    return console


@contextmanager
def showing(progress: Progress, console: Console) -> Iterator[None]:
    """Shows the progress until the block ends."""
    if console.is_terminal:
        with Live(get_renderable=lambda: render(progress), console=console, refresh_per_second=2, transient=True):
            yield
        return
    progress.listeners.append(lambda entry: say(console, line(entry)))
    stop = threading.Event()

    def print_running() -> None:
        while not stop.wait(PLAIN_EVERY_S):
            running = "; ".join(describe(entry) for entry in progress.of_state("running"))
            say(console, "   ".join(filter(None, (counts(progress), progress.notice, running))))

    thread = threading.Thread(target=print_running, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def say(console: Console, text: str) -> None:
    """Prints one line, however long. Brackets in it, such as those of an error, are not markup."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def render(progress: Progress) -> Group:
    """Errors of failed stages, running stages with bars, the counts."""
    table = Table.grid(padding=(0, 1))
    for entry in progress.of_state("running"):
        done, total = entry.latest.get("step", 0), entry.latest.get("num_steps") or 1
        texts = Text("●", style="cyan"), Text(entry.stage.label)
        table.add_row(*texts, ProgressBar(total, done, width=20), Text(_numbers(entry)))
    for entry in progress.of_state("elsewhere"):
        table.add_row(Text("○", style="cyan"), Text(entry.stage.label), Text(""), Text(f"elsewhere, by {entry.holder}"))
    failed = [Text(f"✗ {entry.stage.label}: {entry.error}", style="red") for entry in progress.of_state("failed")]
    notice = [Text(progress.notice, style="yellow")] if progress.notice else []
    return Group(*failed, table, *notice, Text(f"  {counts(progress)}", style="bold"))


def line(entry: StageProgress) -> str:
    """The start or the end of a stage, as a line of a log."""
    clock = time.strftime("%H:%M:%S")
    if entry.state == "running":
        return f"{clock} started  {entry.stage.label}"
    if entry.state == "elsewhere":
        return f"{clock} elsewhere {entry.stage.label}: trained by {entry.holder}"
    if entry.state == "waiting":
        return f"{clock} lost     {entry.stage.label}, goes on from its last saved state: {entry.error}"
    took = f" ({duration(entry.ended_at - entry.started_at)})" if entry.started_at and entry.ended_at else ""
    return f"{clock} {entry.state:<8} {entry.stage.label}{took}{': ' + entry.error if entry.error else ''}"


def describe(entry: StageProgress) -> str:
    return f"{entry.stage.label} {_numbers(entry)}".strip()


def _numbers(entry: StageProgress) -> str:
    latest = entry.latest
    step = f"step {latest['step']}/{latest['num_steps']}" if "step" in latest else "starting"
    return step + (f"  {latest['metric']} {latest['value']:.4g}" if "metric" in latest else "")


def generation_progress(console: Console) -> Callable[[str, int, int], None]:
    """A function of (kind of corpus, tracks done, all tracks) that prints how far its generation is.

    On a terminal it prints every tenth, elsewhere only the end.
    """
    printed: dict[str, int] = {}

    def report(kind: str, done: int, total: int) -> None:
        tenth = 10 * done // total
        if printed.get(kind) != tenth and (console.is_terminal or done == total):
            printed[kind] = tenth
            end = "\r" if done < total else "\n"
            console.print(f"Generated {kind} corpus: {done}/{total} tracks", end=end, highlight=False)

    return report


class Bar:
    """Progress of a task with a known number of parts: a bar on a terminal, elsewhere a line for every tenth."""

    def __init__(self, title: str, console: Console) -> None:
        self._title, self._console, self._tenth = title, console, -1
        self._live = Bars(console=console, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Bar":
        if self._live is not None:
            self._live.start()
            self._task = self._live.add_task(self._title, total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, done: int, total: int) -> None:
        if self._live is not None:
            self._live.update(self._task, completed=done, total=total)
        elif 10 * done // total > self._tenth:
            self._tenth = 10 * done // total
            say(self._console, f"{self._title}: {done}/{total}")
