"""The page while a study runs: failures first, curves of what runs, and no word of going on once it has stopped."""

import time
from pathlib import Path

import pytest

from study.report import live_page as live_page_module
from study.report.blocks import Figure, Table
from study.report.live_page import LivePage
from study.report.sections import running
from study.stages.graph import StageGraph
from study.stages.progress import Progress
from study.store.store import Store
from tests.study import toy_report as toy

RUNNING, FAILED, WAITING = (toy.stage("finetuning", arm, 0) for arm in ("reference", "source=none", "source=drums"))
EPOCHS = [{"epoch": i, "step": 10 * (i + 1), "train_loss": 1 / (1 + i)} for i in range(3)]
NOW = "2026-11-22 12:00:00 UTC"
FEW = {name: toy.ARMS[name] for name in ("bare", "reference")}


@pytest.fixture
def progress() -> Progress:
    going = Progress()
    going.add(StageGraph([RUNNING, FAILED, WAITING]), set())
    going.start(FAILED.identity)
    going.end(FAILED.identity, "failed", "ValueError: no <luck>")
    numbers = {"step": 30, "num_steps": 90, "metric": "roc_auc", "value": 0.71234, "epochs": EPOCHS[:2]}
    going.report(RUNNING.identity, numbers)
    going.report(RUNNING.identity, {"step": 30, "epochs": EPOCHS[2:]})
    return going


def test_failures_come_first_then_what_runs_with_its_curve(progress):
    section = running.section(progress, NOW)
    failures, stages, curves = section.blocks
    assert isinstance(failures, Table) and isinstance(stages, Table) and isinstance(curves, Figure)
    assert [cell.text for cell in failures.rows[0]] == [FAILED.label, "failed", "ValueError: no <luck>"]
    assert [cell.text for cell in stages.rows[0]][:4] == ["finetuning reference, seed 0", "30", "90", "roc_auc 0.7123"]
    assert "0 done · 1 running · 1 waiting · 1 failed" in section.says
    assert "finetuning reference" in curves.drawn.decode()


def test_a_curve_needs_two_epochs(progress):
    progress.stages[RUNNING.identity].epochs[:] = EPOCHS[:1]
    assert [block.key for block in running.section(progress, NOW).blocks] == ["failures", "running"]


def test_what_keeps_it_waiting_is_said():
    going = Progress()
    going.notice = "waiting for machines: 4 GPU asked for, 0 there"
    assert "Waiting for machines: 4 GPU asked for, 0 there." in running.section(going, NOW).says


def page_of(store: Store) -> str:
    path = Path(store.location, "report/toy/report.html")
    return path.read_text() if path.exists() else ""


def wait_for(store: Store, text: str) -> str:
    deadline = time.monotonic() + 60
    while text not in page_of(store):
        assert time.monotonic() < deadline, page_of(store)[:2000]
        time.sleep(0.05)
    return page_of(store)


def shown_page(store: Store, progress: Progress, refreshed: list[int], told: list[str]) -> LivePage:
    return LivePage(store, "toy", progress, refresh=lambda: refreshed.append(1), complain=told.append)


def test_it_is_written_at_once_again_as_stages_end_and_stops_reloading_when_the_study_is_stopped(
    tmp_path, progress, monkeypatch
):
    monkeypatch.setattr(live_page_module, "WRITE_EVERY_S", 0.05)
    monkeypatch.setattr(live_page_module, "MOST_OF_THE_TIME", 1e6)
    store = toy.write_study(tmp_path, FEW, missing=[("reference", 2)], comparisons=[])
    refreshed, told = [], []
    with pytest.raises(KeyboardInterrupt), shown_page(store, progress, refreshed, told):
        text = wait_for(store, 'http-equiv="refresh"')
        assert text.index("Under way") < text.index("The arms") and "no &lt;luck&gt;" in text
        assert "5 done" not in text and refreshed == [1]
        progress.end(RUNNING.identity, "done")
        wait_for(store, "1 done · 0 running · 1 waiting")
        deadline = time.monotonic() + 60
        while refreshed != [1, 1]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        raise KeyboardInterrupt
    assert told == []
    assert 'http-equiv="refresh"' not in page_of(store) and "The arms" in page_of(store)


def test_what_ended_is_not_asked_again_before_its_time(tmp_path, progress):
    store = toy.write_study(tmp_path, FEW, comparisons=[])
    refreshed: list[int] = []
    page = shown_page(store, progress, refreshed, [])
    page.write()
    progress.end(RUNNING.identity, "done")
    page.write()
    assert refreshed == [1] and "1 done · 0 running" in page_of(store)


def test_a_page_that_cannot_be_written_is_told_once_and_tried_again(tmp_path, progress, monkeypatch):
    monkeypatch.setattr(live_page_module, "WRITE_EVERY_S", 0.01)
    store, told = toy.write_study(tmp_path / "store", FEW, comparisons=[]), []
    room = Path(store.location, "report")
    room.write_text("here is no room for a folder")
    with shown_page(store, progress, [], told):
        deadline = time.monotonic() + 60
        while not told:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        room.unlink()
        wait_for(store, "Under way")
    assert len(told) == 1 and told[0].startswith("The page could not be written, the study goes on: ")
    assert "Under way" not in page_of(store)


def test_a_page_that_cannot_be_written_hides_no_interruption(tmp_path, progress):
    store, told = Store(tmp_path), []
    with pytest.raises(KeyboardInterrupt), shown_page(store, progress, [], told):
        raise KeyboardInterrupt
