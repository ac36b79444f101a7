"""A search on Ray: given up early in the workers, killed and gone on with, and the same in the end."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.records.query import Query
from study.store.store import Store
from tests.study.cluster.commands import ROOT, finish, gone, wait_until, workers

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def start(storage: Path) -> "subprocess.Popen[str]":
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "experiments/search.py", "--preset", "tiny", "--storage", str(storage)]
    return subprocess.Popen(
        [*command, "--arms", "bare", "--budget", "8", "--parallel", "3", "--grace-epochs", "1", "--reduction", "2"],
        cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def trials(storage: Path) -> list[dict[str, Any]]:
    rows = Query(Store(storage)).run("SELECT * EXCLUDE (duration_s) FROM trials ORDER BY number").to_pylist()
    assert rows
    return rows


@pytest.mark.slow
def test_a_search_that_was_killed_finds_what_the_undisturbed_one_finds(tmp_path: Path):
    whole = finish(start(tmp_path / "whole"))
    found = trials(tmp_path / "whole")
    assert len(found) == 8 and {row["state"] for row in found} == {"complete", "pruned"}
    # What was given up is an attempt with its epochs, and no result.
    sql = "SELECT state, count(*) AS num FROM stages WHERE kind = 'classification' GROUP BY state"
    counts = {row["state"]: row["num"] for row in Query(Store(tmp_path / "whole")).run(sql).to_pylist()}
    assert counts == {s: [r["state"] for r in found].count(t) for s, t in (("done", "complete"), ("pruned", "pruned"))}
    assert "epochs" in whole and "saved)" in whole

    killed = start(tmp_path / "killed")
    journal = tmp_path / "killed" / "records" / "stages"
    wait_until(lambda: journal.is_dir() and len(list(journal.iterdir())) >= 3, killed)
    training = workers(killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert gone(training)
    finish(start(tmp_path / "killed"))
    assert trials(tmp_path / "killed") == found
    winners = [(tmp_path / name / "searches" / "rates-tiny-winner.json").read_text() for name in ("whole", "killed")]
    assert winners[0] == winners[1]
