"""How much of a GPU's memory the stages of a command need, known before any starts."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from study.cluster.execution import Execution
from study.stages.identity import canonical, digest
from study.stages.stage import Stage

GIB = 2**30


def lines(stages: Iterable[Stage], execution: Execution, folders: Mapping[str, str]) -> Iterator[str]:
    """Of those of the stages that use GPUs: the largest need, and what as many as share a GPU need together.

    `folders`: content digest -> a corpus' folder on this machine.
    """
    needs = [need for stage in _different(stages) if (need := _need(stage, execution, folders))]
    if not needs:
        return
    num_bytes, label, _ = max(needs)
    line = f"GPU memory: a stage needs up to about {num_bytes / GIB:.1f} GiB ({label})"
    together = max(num_bytes * per_gpu for num_bytes, _, per_gpu in needs)
    if together > num_bytes:
        line += f", all that share a GPU up to about {together / GIB:.1f} GiB"
    yield f"{line}.{_on_this_machine(together)}"


def _different(stages: Iterable[Stage]) -> Iterable[Stage]:
    """One of those that differ in the seed alone."""
    return {
        digest([stage.kind.name, canonical(replace(stage.config, seed=0)), stage.corpus]): stage for stage in stages
    }.values()


def _need(stage: Stage, execution: Execution, folders: Mapping[str, str]) -> tuple[int, str, int] | None:
    """Bytes for each worker, whose they are, and how many such workers share a GPU."""
    resources = execution.resources_of(stage.kind.name)
    if not resources.gpus_per_worker or stage.kind.memory is None:
        return None
    num_bytes = stage.kind.memory(
        stage.config, folders[stage.corpus], resources.num_workers, execution.feature_memory_bytes
    )
    return num_bytes, stage.label, max(1, int(1 / resources.gpus_per_worker))


def _on_this_machine(num_bytes: int) -> str:
    import torch

    if not torch.cuda.is_available():
        return ""
    total = torch.cuda.get_device_properties(0).total_memory
    more = "more than" if num_bytes > total else "of"
    return f" That is {more} the {total / GIB:.0f} GiB of the one here."
