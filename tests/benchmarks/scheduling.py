"""How close the schedule comes to the best that could be done, simulated and on this machine.

python -m tests.benchmarks.scheduling simulate    # about a minute
python -m tests.benchmarks.scheduling run         # about six minutes on two idle cores

The simulation runs the real dispatcher on the demo's, the paper's and random graphs. Its groups take time to start, and
it knows every duration only within a factor of two. It is compared with a list schedule that knows all durations
beforehand, takes the longest way first and starts at once. The run trains 60 stages that sleep for a known time.
"""

import argparse
import heapq
import random
import statistics
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from experiments import ablation, paper
from experiments.presets import PAPER, TINY
from study.cluster.desk import Assignment
from study.cluster.dispatcher import Dispatcher
from study.cluster.execution import Execution
from study.cluster.forecast import makespan
from study.corpora.corpora import Corpora, open_corpora
from study.design.study import Study
from study.kinds.weights import Weights
from study.stages.graph import StageGraph
from study.stages.progress import Progress
from study.stages.stage import Stage
from study.store.store import Store
from tests.benchmarks.sleeping import TOY, Config

START_S = 8.0  # as measured on idle cores
SLOTS = (1, 2, 4, 8, 16, 64)
# Seconds by kind: the demo's on two cores, the paper's on an H100.
DEMO_S = {"separation": 150.0, "classification": 45.0, "finetuning": 60.0, "probe": 25.0}
PAPER_S = {"separation": 1500.0, "classification": 1100.0, "finetuning": 2400.0, "probe": 60.0}
NO_FILE = Weights(name="none.npz", sha256="0" * 64)  # only its name is needed


class Rough:
    """What is expected: the true seconds, within a factor of two either way."""

    def __init__(self, true: Mapping[str, float], seed: int) -> None:
        drawn = random.Random(seed)
        self._seconds = {identity: seconds * 2 ** drawn.uniform(-1, 1) for identity, seconds in true.items()}

    def __call__(self, stage: Stage) -> float:
        return self._seconds[stage.identity]

    def explained(self, stage: Stage) -> tuple[float, Literal["scaled"]]:
        return self(stage), "scaled"

    def learn(self, stage: Stage, seconds: float) -> bool:
        return False


class Memory:
    """A store that only knows what is done, and claims that nobody else makes."""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def done(self, identity: str) -> bool | None:
        return identity in self.known or None

    def done_identities(self, identities: Iterable[str]) -> set[str]:
        return self.known & set(identities)

    def take(self, identity: str) -> None:
        return None

    holder = release = take


def simulated(stages: Collection[Stage], true: Mapping[str, float], slots: int, expected: Any) -> float:
    """Seconds until all stages are done, with the real dispatcher and groups that take time to start."""
    now, store, number = [0.0], Memory(), count()
    events: list[tuple[float, int, str, str]] = []  # (when, -, group, identity that has ended)
    limit = {"CPU": float(slots), "GPU": 0.0}
    store_like: Any = store
    dispatcher = Dispatcher(
        graph=StageGraph(stages),
        store=store_like,
        execution=Execution(storage="", hung_after_s=1e9),
        progress=Progress(),
        facts={},
        limit=lambda: limit,
        holds=lambda resources: True,
        expected=expected,
        claims=store_like,
        clock=lambda: now[0],
    )
    ended: list[str] = []

    def answer(question: str, assignment: Assignment) -> None:
        group = question.split(":", maxsplit=1)[0]
        if assignment.stage is None:
            ended.append(group)
        else:
            ends = now[0] + true[assignment.identity]
            heapq.heappush(events, (ends, next(number), group, assignment.identity))

    dispatcher.answer = answer
    while not dispatcher.finished:
        while (resources := dispatcher.wanted_group()) is not None:
            group = f"group{next(number)}"
            dispatcher.start_group(group, resources)
            heapq.heappush(events, (now[0] + START_S, next(number), group, ""))
        now[0], _, group, identity = heapq.heappop(events)
        if identity:
            store.known.add(identity)
        dispatcher.ask(group, f"{group}:{next(number)}", {"state": "done"} if identity else None)
        dispatcher.tick()
        dispatcher.assign()
        while ended:
            dispatcher.end_group(ended.pop(), "")
    return now[0]


def ratio(stages: Collection[Stage], true: Mapping[str, float], slots: int, seed: int) -> float:
    best = makespan(
        StageGraph(stages),
        done=(),
        seconds_of=lambda stage: true[stage.identity],
        resources_of=lambda stage: Execution(storage="").default_resources,
        limit={"CPU": slots, "GPU": 0.0},
    )
    return simulated(stages, true, slots, Rough(true, seed)) / best


def random_graph(seed: int) -> tuple[list[Stage], dict[str, float]]:
    """20 to 300 stages of up to three parents each, of 20 s to 20 min."""
    drawn, stages = random.Random(seed), []
    num_stages, share = drawn.randrange(20, 300), drawn.random()
    for number in range(num_stages):
        num_parents = min(len(stages), drawn.randrange(1, 4)) if drawn.random() < share else 0
        parents = {str(index): parent for index, parent in enumerate(drawn.sample(stages, num_parents))}
        stages.append(Stage(kind=TOY, config=Config(number=number), corpus="c", parents=parents, label=str(number)))
    return stages, {stage.identity: 20 * 60 ** drawn.random() for stage in stages}


def by_kind(study: Study, corpora: Corpora, recipe: Any, seconds: Mapping[str, float]) -> Any:
    """A study's stages, each of its kind's seconds times up to 1.2 either way."""
    graph = StageGraph(run.final_stage for run in study.runs(recipe, corpora))
    drawn = random.Random(0)
    return list(graph), {s.identity: seconds[s.kind.name] * 1.2 ** drawn.uniform(-1, 1) for s in graph}


def simulate() -> None:
    with TemporaryDirectory() as folder:
        corpora = open_corpora(["separation", "tagging", "genre"], {}, TINY.generated, Path(folder), lambda *told: None)
        graphs = {
            "demo": by_kind(ablation.study, corpora, TINY.recipe, DEMO_S),
            "paper": by_kind(paper.study, corpora, replace(PAPER.recipe, weights=NO_FILE), PAPER_S),
        }
    heads = "".join(f"{slots:>8}" for slots in SLOTS)
    print(f"makespan / list schedule that knows all, by slots{'':10}{heads}")
    for name, (stages, true) in graphs.items():
        found = [[ratio(stages, true, slots, seed) for seed in range(5)] for slots in SLOTS]
        cells = "".join(f"{statistics.mean(values):8.3f}" for values in found)
        print(f"{name}, {len(stages)} stages, mean of 5{'':20}"[:59].ljust(59) + cells)
    drawn = {slots: [ratio(*random_graph(seed), slots, seed) for seed in range(100)] for slots in SLOTS}
    for word, of in (("median", statistics.median), ("worst", max)):
        print(f"100 random graphs, {word}".ljust(59) + "".join(f"{of(drawn[slots]):8.3f}" for slots in SLOTS))
    questions()


def questions() -> None:
    """What the dispatcher itself takes at 10,000 stages."""
    roots = [Stage(kind=TOY, config=Config(number=n), corpus="c", label=str(n)) for n in range(500)]
    stages = [
        Stage(kind=TOY, config=Config(number=500 + n), corpus="c", parents={"root": roots[n % 500]}, label=str(n))
        for n in range(9_500)
    ]
    true = {stage.identity: 60.0 for stage in (*roots, *stages)}
    expected = Rough(true, 0)
    begun = time.perf_counter()
    whole = simulated(stages, true, 64, expected)
    took = time.perf_counter() - begun
    print(f"10,000 stages on 64 slots ({whole:.0f} s): {took:.1f} s to build and dispatch, {took / 10:.2f} ms a stage")


def run() -> None:
    """60 stages of 0.5 to 20 s on two slots."""
    from study.cluster.run_graph import run_graph

    drawn = random.Random(0)
    seconds = [0.5 * 40 ** drawn.random() for _ in range(60)]
    stages: list[Stage] = []
    for number, length in enumerate(seconds):
        parents = {"before": stages[drawn.randrange(number)]} if number > 10 and drawn.random() < 0.5 else {}
        config = Config(number=number, seconds=length)
        stages.append(Stage(kind=TOY, config=config, corpus="c", parents=parents, label=str(number)))
    true = {stage.identity: stage.config.seconds for stage in stages}
    progress, begun = Progress(), time.perf_counter()
    first, cpu = list[float](), CpuSeconds()
    progress.listeners.append(lambda entry: first.append(time.perf_counter() - begun))
    with TemporaryDirectory() as folder:
        run_graph(
            StageGraph(stages), store=Store(folder), execution=Execution(storage=folder, max_cpus=2), progress=progress,
            watched=cpu, expected=Rough(true, 0),
        )  # fmt: skip
        whole = time.perf_counter() - begun
    assert progress.count()["done"] == 60, [entry.error for entry in progress.of_state("failed")]
    best, start = sum(seconds) / 2, first[0]
    print(
        f"60 stages of {sum(seconds):.0f} s on two slots: {whole:.1f} s, of which {start:.1f} s until the first began;"
    )
    print(f"(wall-clock - start) / (sum / 2) = {(whole - start) / best:.3f}")
    beyond = sum((e.ended_at or 0) - (e.started_at or 0) for e in progress.stages.values()) - sum(seconds)
    print(f"{beyond / 60:.2f} s a stage beyond its body; {cpu.spent / 60:.2f} CPU-s a stage of all processes")


class CpuSeconds:
    """A context that counts what this process and all its descendants have spent, those that have ended too."""

    def __enter__(self) -> "CpuSeconds":
        return self

    def __exit__(self, *_: object) -> None:
        import psutil

        this = psutil.Process()
        self.spent = sum(sum(process.cpu_times()[:4]) for process in [this, *this.children(recursive=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["simulate", "run"])
    {"simulate": simulate, "run": run}[parser.parse_args().what]()


if __name__ == "__main__":
    main()
