"""What people see of a running study: on a terminal, in a log, and in words."""

import io
import itertools
import time

import pytest
from rich.console import Console

from study.command import display
from study.command.display import describe, line, render, showing, terminal
from study.report.sections import running
from study.stages import progress
from study.stages.graph import StageGraph
from study.stages.progress import Progress, counts, duration
from tests.study.toy_stages import toy_stage

TOP = toy_stage(label="separation vocals, seed 0")
LEFT = toy_stage(seed=1, parents={"up": TOP}, label="left")
RIGHT = toy_stage(seed=2, parents={"up": TOP}, label="right")
STEP = {"step": 10, "num_steps": 40, "metric": "roc_auc", "value": 0.86123}


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when the test says so."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def going(clock):
    going = Progress()
    going.add(StageGraph([LEFT, RIGHT]), {TOP.identity})
    return going


def text_of(renderable, **options) -> str:
    console = Console(file=io.StringIO(), width=100, **options)
    console.print(renderable)
    return console.file.getvalue()


def test_counts_name_what_is_there(going):
    assert counts(going) == "1 done · 0 running · 2 waiting"
    going.start(LEFT.identity)
    going.end(LEFT.identity, "failed", "ValueError: too small")
    assert counts(going) == "1 done · 0 running · 1 waiting · 1 failed"


def test_the_time_left_is_what_the_forecast_says(going):
    assert going.seconds_left() is None
    going.forecast = lambda: 45.0
    assert counts(going) == "1 done · 0 running · 2 waiting · about 45 s left"


def test_what_is_found_done_later_was_done_before(going):
    going.add([LEFT], {LEFT.identity})
    assert [entry.cached for entry in going.of_state("done")] == [True, True]


def test_a_loss_is_a_line_and_the_stage_waits_again(going):
    lines: list[str] = []
    going.listeners.append(lambda entry: lines.append(line(entry)))
    going.start(LEFT.identity)
    assert going.lose(LEFT.identity, "worker died") == 1
    assert lines[-1].endswith("goes on from its last saved state: its processes were lost: worker died")
    assert (going.stages[LEFT.identity].state, going.stages[LEFT.identity].error) == ("waiting", "")


def test_what_another_command_trains_is_said(going):
    lines: list[str] = []
    going.listeners.append(lambda entry: lines.append(line(entry)))
    going.leave(LEFT.identity, "node-7 (command 1f9c)")
    assert lines[-1].endswith(f"elsewhere {LEFT.label}: trained by node-7 (command 1f9c)")
    assert counts(going) == "1 done · 0 running · 1 elsewhere · 1 waiting"
    assert "elsewhere, by node-7 (command 1f9c)" in text_of(render(going))
    section = running.section(going, "now")
    assert [[cell.text for cell in row] for row in section.blocks[0].rows] == [[LEFT.label, "node-7 (command 1f9c)"]]

    going.take_back(LEFT.identity)
    assert counts(going) == "1 done · 0 running · 2 waiting"
    going.leave(LEFT.identity, "node-7 (command 1f9c)")
    going.found_done(LEFT.identity)
    assert going.stages[LEFT.identity].cached and counts(going) == "2 done · 0 running · 1 waiting"


def test_a_stage_starts_once_and_keeps_its_last_report(going):
    told = []
    going.listeners.append(lambda entry: told.append((entry.stage.label, entry.state)))
    going.start(LEFT.identity)
    going.report(LEFT.identity, STEP)
    going.report(LEFT.identity, {"step": 20, "num_steps": 40})
    going.end(LEFT.identity, "done")
    assert told == [("left", "running"), ("left", "done")]
    assert describe(going.stages[LEFT.identity]) == "left step 20/40  roc_auc 0.8612"


def test_a_growing_graph_keeps_what_is_known(going):
    going.start(LEFT.identity)
    going.add(StageGraph([LEFT, RIGHT, toy_stage(seed=5)]), set())
    assert going.count() == {"done": 1, "running": 1, "waiting": 2}


def test_lines_of_a_log(going, clock):
    entry = going.stages[LEFT.identity]
    going.start(LEFT.identity)
    assert line(entry).split(maxsplit=1)[1] == "started  left"
    clock.now += 100
    going.end(LEFT.identity, "failed", "ValueError: shapes [3] and [4]")
    assert line(entry).split(maxsplit=1)[1] == "failed   left (2 min): ValueError: shapes [3] and [4]"


def test_the_live_view_shows_running_failed_and_waiting(going):
    going.notice = "waiting for machines: 8 CPU asked for, 2 there"
    going.report(LEFT.identity, STEP)
    going.end(RIGHT.identity, "failed", "ValueError: shapes [/3] and [bold]")
    text = text_of(render(going))
    assert "left" in text and "step 10/40  roc_auc 0.8612" in text and "starting" not in text
    assert "✗ right: ValueError: shapes [/3] and [bold]" in text
    assert going.notice in text and counts(going) in text
    assert "separation vocals" not in text


def test_a_stage_without_a_report_is_starting(going):
    going.start(LEFT.identity)
    assert describe(going.stages[LEFT.identity]) == "left starting"


def test_plain_lines_where_there_is_no_terminal(going):
    console = Console(file=io.StringIO(), width=20)
    with showing(going, console):
        going.start(LEFT.identity)
        going.end(LEFT.identity, "failed", "ValueError: a cause [/that] is longer than the console is wide")
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("started  left")
    assert lines[1].endswith("ValueError: a cause [/that] is longer than the console is wide")


def test_plain_lines_tell_of_running_stages_now_and_then(going, monkeypatch):
    monkeypatch.setattr(display, "PLAIN_EVERY_S", 0.0)
    written = io.StringIO()
    going.report(LEFT.identity, STEP)
    with showing(going, Console(file=written, width=20)):
        for _ in itertools.takewhile(lambda _: "\n" not in written.getvalue(), range(1000)):
            time.sleep(0.01)
    first = written.getvalue().splitlines()[0]
    assert first == "1 done · 1 running · 1 waiting   left step 10/40  roc_auc 0.8612"


def test_the_live_view_leaves_no_trace(going):
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with showing(going, console):
        going.report(LEFT.identity, STEP)
    assert not going.listeners


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (45.4, "45 s"),
        (89.0, "89 s"),
        (90.0, "2 min"),
        (600.0, "10 min"),
        (3600.0, "1 h 0 min"),
        (7800.0, "2 h 10 min"),
    ],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_where_there_is_no_terminal_a_table_has_room(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal().width == 100
    monkeypatch.setenv("COLUMNS", "132")
    assert terminal().width == 132
