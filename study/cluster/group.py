"""A group of workers: Ray Train's processes that stay, and run one stage after another."""

import pickle
import uuid
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from study.cluster.connection import NoProcessGroup, PlacementGroupNamer
from study.cluster.execution import Work

WORKER_LOSSES = 3  # so often a group's workers are replaced


class _Trainer(DataParallelTrainer):
    """Without two processes per run that do nothing for stages.

    One serves Ray Data. The other polls the controller to free its placement group, as `release_placement_groups` does
    here.
    """

    def _create_default_callbacks(self) -> list[Any]:
        unused = (DatasetsCallback, PlacementGroupCleanerCallback)
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, unused)]


def run_group(work: Work, *, scratch: str) -> None:
    """Starts the workers, replaces lost ones, and returns when they are told to end. Raises if they cannot go on."""
    resources = work.resources
    uses_gpu = resources.gpus_per_worker > 0
    per_worker = {"CPU": resources.cpus_per_worker} | ({"GPU": resources.gpus_per_worker} if uses_gpu else {})
    trainer = _Trainer(
        _run_worker,
        # Pickled, so that Train's controller need not import its classes.
        train_loop_config={"work": pickle.dumps(work)},
        backend_config=NoProcessGroup() if resources.num_workers == 1 else _process_group(uses_gpu),
        scaling_config=ScalingConfig(
            num_workers=resources.num_workers, use_gpu=uses_gpu, resources_per_worker=per_worker
        ),
        run_config=RunConfig(
            # A name that was used before would load what Train left there.
            name=f"train-{uuid.uuid4().hex}",
            storage_path=scratch,
            # Train replaces lost workers faster than Tune replaces the group. What stays lost ends the group.
            failure_config=FailureConfig(
                max_failures=WORKER_LOSSES, controller_failure_limit=0, max_preemption_failures=WORKER_LOSSES
            ),
            callbacks=[TuneReportCallback(), PlacementGroupNamer(work.group)],  # pyright: ignore[reportArgumentType]
        ),
    )
    trainer.fit()


def _run_worker(config: dict[str, Any]) -> None:
    # Only workers import torch: it takes seconds.
    from study.cluster.worker import run_stages

    run_stages(pickle.loads(config["work"]))


def _process_group(uses_gpu: bool) -> Any:
    from ray.train.torch import TorchConfig

    return TorchConfig(backend="nccl" if uses_gpu else "gloo")
