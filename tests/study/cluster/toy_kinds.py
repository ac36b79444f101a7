"""Toy stages for the tests on Ray: each leaves a line in a journal when it runs, and misbehaves on request."""

import os
import pickle
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import psutil  # comes with Ray, which conftest and Ray's own processes import first
import ray.train
import torch
from torch import distributed

from components.objectives.classification import ClassificationObjective
from components.training import workers
from components.training.loop import Batch
from study.kinds.classification import CLASSIFICATION
from study.stages.stage import Pruned, Stage, StageKind, StageResult, StageRun
from study.store.attempt import begin_attempt
from study.store.store import Store


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    name: str
    seed: int = 0


def journal(storage: str) -> list[str]:
    """Names of the stages whose `run` was entered, in order."""
    path = Path(storage) / "journal"
    return path.read_text().split() if path.exists() else []


def once(run: StageRun, event: str) -> bool:
    """True the first time that an event is asked for in this store."""
    try:
        (Path(run.execution.storage) / f"{run.stage.config.name}-{event}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def note(run: StageRun) -> None:
    with (Path(run.execution.storage) / "journal").open("a") as file:
        file.write(f"{run.stage.config.name}\n")


def counts(run: StageRun) -> StageResult:
    """1 + the sum of its parents."""
    note(run)
    value = 1 + sum(int(run.read(role, "value")) for role in run.stage.parents)
    run.report({"step": 1, "num_steps": 1, "metric": "value", "value": float(value)})
    return StageResult(metrics={"value": float(value)}, files={"value": str(value).encode()})


def fails(run: StageRun) -> StageResult:
    """Until somebody repairs the store by a file of that name."""
    note(run)
    if not (Path(run.execution.storage) / "repaired").exists():
        raise ValueError(f"{run.stage.config.name} does not like its input")
    return StageResult(files={"value": b"1"})


def walks(run: StageRun) -> StageResult:
    """Twelve steps of a random walk; its worker is killed once, after the state of the fifth was saved."""
    note(run)
    state = pickle.loads(run.state) if run.state else {"step": 0, "place": torch.zeros(3, dtype=torch.float64)}
    started_at = state["step"]
    while state["step"] < 12:
        noise = torch.randn(3, generator=torch.Generator().manual_seed(state["step"]), dtype=torch.float64)
        state = {"step": state["step"] + 1, "place": 0.9 * state["place"] + noise}
        run.save_state(pickle.dumps(state))
        if state["step"] == 5 and run.stage.config.name == "killed" and once(run, "kill"):
            os.kill(os.getpid(), signal.SIGKILL)
    return StageResult(
        files={"value": state["place"].numpy().tobytes()}, facts={"started_at": started_at}, metrics={"steps": 12.0}
    )


def dies(run: StageRun) -> StageResult:
    """Kills its worker whenever it is tried."""
    note(run)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def kill_process(name: str) -> None:
    """This node's actors of that class."""
    for process in psutil.Process().parent().children():  # pyright: ignore[reportOptionalMemberAccess]
        if name in " ".join(process.cmdline()[:1]):
            process.kill()


def loses(run: StageRun) -> StageResult:
    """Kills once the process that it is named after: one of Ray's, its own or the desk's."""
    note(run)
    if once(run, "loss"):
        kill_process(run.stage.config.name)
        # Only the desk's loss ends nothing.
        time.sleep(600 if run.stage.config.name != "Desk" else 0)
    return counts(run)


def hangs(run: StageRun) -> StageResult:
    """Once."""
    if once(run, "hang"):
        time.sleep(600)
    return counts(run)


def is_given_up(run: StageRun) -> StageResult:
    """Early."""
    note(run)
    raise Pruned


def loses_its_gpu(run: StageRun) -> StageResult:
    """Once."""
    note(run)
    if once(run, "loss"):
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")
    return StageResult(files={"value": str(workers.gather(1)).encode()})


def loses_an_actor(run: StageRun) -> StageResult:
    """Once: Train's, through which workers report."""
    note(run)
    if once(run, "loss"):
        kill_process("SynchronizationActor")
        ray.train.report({"stage": run.stage.identity, "state": "running"})
        raise AssertionError("Train reports without it")
    return StageResult(files={"value": b"1"})


def comes_second(run: StageRun) -> StageResult:
    """While it runs, another study on the same store finishes the same stage."""
    note(run)
    other = begin_attempt(Store(run.execution.storage), run.stage, {"command": "another"})
    other.save_state(b"state")
    other.finish(StageResult(files={"value": b"1"}, metrics={"value": 1.0}))
    run.save_state(b"state")
    return StageResult(files={"value": b"2"}, metrics={"value": 2.0})


def fails_on_the_second_worker(run: StageRun) -> StageResult:
    """The first waits for the second, which never comes."""
    note(run)
    if ray.train.get_context().get_world_rank() == 1:
        raise ValueError("the second worker does not like its share")
    distributed.barrier()
    return StageResult()


def fails_before_the_first_worker_asks(run: StageRun) -> StageResult:
    """The first asks for the second only after Ray Train has taken their process group apart."""
    note(run)
    if ray.train.get_context().get_world_rank() == 1:
        raise ValueError("the second worker was too fast")
    while distributed.is_initialized():
        time.sleep(0.01)
    distributed.barrier()
    return StageResult()


def loses_its_second_worker(run: StageRun) -> StageResult:
    """Once, while the first waits for it."""
    note(run)
    if ray.train.get_context().get_world_rank() == 1 and once(run, "kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    distributed.barrier()
    return StageResult()


def gathers_late(run: StageRun) -> StageResult:
    """Once the second is lost, and the first asks for its share when their process group has been taken apart."""
    note(run)
    rank = ray.train.get_context().get_world_rank()
    if once(run, f"loss-{rank}"):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        while distributed.is_initialized():
            time.sleep(0.01)
    return StageResult(files={"value": str(workers.gather(rank)).encode()})


def adds_up(run: StageRun) -> StageResult:
    """The sum over the workers of rank + 1."""
    value = torch.tensor([float(distributed.get_rank() + 1)])
    distributed.all_reduce(value)
    return StageResult(metrics={"value": float(value)}, files={"value": str(int(value)).encode()})


KINDS = {
    run.__name__: StageKind(name=run.__name__.replace("_", "-"), version=1, run=run)
    for run in (
        *(counts, fails, walks, dies, loses, hangs, is_given_up, loses_its_gpu, loses_an_actor, comes_second),
        *(fails_on_the_second_worker, fails_before_the_first_worker_asks),
        *(loses_its_second_worker, gathers_late, adds_up),
    )
}


def toy(name: str, *parents: Stage, run=counts) -> Stage:
    roles = {f"parent{index}": parent for index, parent in enumerate(parents)}
    return Stage(kind=KINDS[run.__name__], config=ToyConfig(name=name), corpus="c0ffee", parents=roles, label=name)


def classifies_and_tells(run: StageRun) -> StageResult:
    """A bare backend's stage; every worker writes down the segments that it draws."""
    draw = ClassificationObjective.draw
    place = Path(run.execution.storage) / f"draws-{workers.rank()}"

    def told(objective: ClassificationObjective, batch: Batch):
        tracks, starts = draw(objective, batch)
        with place.open("a") as file:
            for position, track, start in zip(batch.positions, tracks, starts, strict=True):
                file.write(f"{batch.epoch} {position} {track} {start}\n")
        return tracks, starts

    with patch.object(ClassificationObjective, "draw", told):
        return CLASSIFICATION.run(run)


TOLD = StageKind(name="told", version=1, run=classifies_and_tells)
