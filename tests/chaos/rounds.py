"""A round: one study on a store of its own, disturbed until it has ended, and then checked."""

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.checks import check, rows
from tests.chaos.study import DisturbedStudy

PAUSE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Round:
    """What came of it. `took_s`: from the command's start to its good end."""

    killed: Counter[str]
    took_s: float
    rows: dict[str, list[str]]


def play(
    script: Sequence[str],
    kinds: Sequence[str],
    *,
    seed: int,
    most: int,
    expected: dict[str, list[str]] | None,
    keep: Path | None = None,
    num_nodes: int = 2,
) -> Round:
    """Kills at most so many processes of these kinds.

    `expected`: the rows of the undisturbed study. `keep`: where a copy of the study's corpora is put.
    """
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        DisturbedStudy(Path(folder), *script, num_nodes=num_nodes) as study,
    ):
        began = time.monotonic()
        killed = _disturb(study, kinds, random.Random(seed), most)
        took_s = time.monotonic() - began
        found = rows(study.storage)
        if expected is not None:
            check(study, expected)
        if keep is not None:
            shutil.copytree(study.storage / "corpora", keep, dirs_exist_ok=True)
    return Round(killed=killed, took_s=took_s, rows=found)


def _disturb(study: DisturbedStudy, kinds: Sequence[str], drawn: random.Random, most: int) -> Counter[str]:
    """Kills while the study goes on, each time at a random moment after some progress."""
    killed: Counter[str] = Counter()
    known = study.num_written()
    while not study.has_ended:
        time.sleep(0.05)
        killed.update(study.killed_at_writes())
        if killed.total() >= most or study.num_written() == known:
            continue
        time.sleep(drawn.uniform(0, PAUSE_S))
        kind = drawn.choice(kinds)
        if not study.has_ended and study.kill(kind, drawn):
            killed[kind] += 1
        known = study.num_written()
    study.withdraw_orders()
    return killed
