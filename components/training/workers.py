"""The workers of one stage: this worker's rank, and values and buffers that they share.

Without an initialised process group there is one worker and every function is the identity. If the group of a worker is
destroyed while it works, it gets PyTorch's ValueError; it never mistakes itself for a single worker.
"""

import os
from typing import Any

import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn


def is_distributed() -> bool:
    # The launcher's settings (torchrun, Ray Train) stay true when the group is gone.
    launched = int(os.environ.get("WORLD_SIZE") or 1) > 1
    return launched or (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def rank() -> int:
    return dist.get_rank() if is_distributed() else 0


def num_workers() -> int:
    return dist.get_world_size() if is_distributed() else 1


def gather(value: Any) -> list[Any]:
    """Every worker's value, in order of rank, on every worker."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * num_workers()
    dist.all_gather_object(values, value)
    return values


def mean(value: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The mean over the workers, the same bits on each of them."""
    if not is_distributed():
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / num_workers()


def share_buffers(module: nn.Module) -> None:
    """Give every worker the first one's buffers (BatchNorm's statistics drift apart where they are local)."""
    if is_distributed():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def data_parallel(module: nn.Module, *, synchronise_batch_norm: bool) -> nn.Module:
    """The module with gradients averaged over the workers; the module itself where there is one worker.

    BatchNorm normalises by each worker's own share of the batch unless `synchronise_batch_norm` (GPU only).
    """
    if not is_distributed():
        return module
    if synchronise_batch_norm:
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    # Buffers are shared before they are read at a validation; sharing them at every step would change no result.
    return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)


def share_of(batch: range) -> range:
    """This worker's part of a global batch; the parts are equal, interleaved and disjoint."""
    return batch[rank() :: num_workers()]
