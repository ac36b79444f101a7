"""Kills studies until so many processes have died, and says for each kind how many and what one cost.

python -m tests.chaos --kills 500 --seed 0
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.rounds import Round, play
from tests.chaos.study import KINDS

SCRIPT = ("experiments/ablation.py", "--preset", "tiny", "--seeds", "2")
MIXED = "of all kinds"
AT_MOST_A_ROUND = 30
# What takes longest to come back is killed less often.
FEWER_A_ROUND = {"driver": 12, "desk": 12, "raylet": 8, "node": 8, "GCS": 5, "raylet of the head": 5}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; the next round has the next")
    parser.add_argument("--mixed", action="store_true", help="let every round kill all kinds")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after so many no round begins")
    return parser.parse_args()


def kinds_of(seed: int, mixed: bool) -> tuple[str, Sequence[str]]:
    """A round kills only one kind, so that its cost can be told; every so often one kills all kinds."""
    place = len(KINDS) if mixed else seed % (len(KINDS) + 1)
    return (KINDS[place], [KINDS[place]]) if place < len(KINDS) else (MIXED, KINDS)


def with_corpora(made: Path) -> Sequence[str]:
    """The script on corpora that an earlier round has made."""
    corpora = [path.parent for path in sorted(made.glob("**/manifest.json"))]
    kinds = [json.loads((corpus / "manifest.json").read_text())["kind"] for corpus in corpora]
    given = [(f"--{kind}-corpus", str(corpus)) for kind, corpus in zip(kinds, corpora, strict=True)]
    return [*SCRIPT, *(word for pair in given for word in pair)]


def told_on_fault(name: str, script: Sequence[str], kinds: Sequence[str], **options: Any) -> Round:
    try:
        return play(script, kinds, **options)
    except BaseException:
        mixed = " --mixed" if name == MIXED else ""
        repeat = f"python -m tests.chaos --kills {options['most']} --seed {options['seed']}{mixed}"
        print(f"FAULT in the round {name!r}. To repeat it: {repeat}", flush=True)
        raise


def table(counts: Mapping[str, int], costs: Mapping[str, Sequence[float]]) -> str:
    """For each kind how many were killed, and by how much one kill made a study longer, on average."""
    lines = [f"{'killed':<30} {'times':>5}  {'cost of one':>11}"]
    for kind in KINDS:
        cost = f"{sum(costs[kind]) / len(costs[kind]):.1f} s" if costs.get(kind) else "-"
        lines.append(f"{kind:<30} {counts.get(kind, 0):>5}  {cost:>11}")
    return "\n".join([*lines, f"{'in all':<30} {sum(counts.values()):>5}"])


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="chaos-corpora-") as corpora:
        return campaign(options(), Path(corpora))


def campaign(given: argparse.Namespace, corpora: Path) -> int:
    began = time.monotonic()
    alone = play(SCRIPT, KINDS, seed=given.seed, most=0, expected=None, keep=corpora)
    print(f"undisturbed: {alone.took_s:.0f} s; seed {given.seed}", flush=True)
    counts: Counter[str] = Counter()
    costs: dict[str, list[float]] = defaultdict(list)
    seed = given.seed
    while counts.total() < given.kills and time.monotonic() - began < 60 * given.minutes:
        name, kinds = kinds_of(seed, given.mixed)
        most = min(FEWER_A_ROUND.get(name, AT_MOST_A_ROUND), given.kills - counts.total())
        # Rounds of all kinds make their corpora themselves, and are killed while they do.
        script = SCRIPT if name == MIXED else with_corpora(corpora)
        played = told_on_fault(name, script, kinds, seed=seed, most=most, expected=alone.rows)
        counts += played.killed
        number = played.killed.total()
        if number and len(kinds) == 1:
            costs[name].append((played.took_s - alone.took_s) / number)
        print(f"seed {seed}: {name}: {number} killed, {played.took_s:.0f} s; {counts.total()} in all", flush=True)
        seed += 1
    print(f"\n{table(counts, costs)}")
    print("Nothing was lost, doubled or torn; no finished stage was trained again; nothing was left behind.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
