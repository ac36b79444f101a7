"""Adapters: from the U-Net's decoder maps to the inputs of a backend's blocks (PAPER section 5).

An insertion point is the pair (decoder level, backend block). Its adapter makes the level's map fit the block's input,
to which it is added.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, order=True)
class InsertionPoint:
    """Decoder map `level` (0 is the coarsest) enters backend block `block`."""

    level: int
    block: int

    def __str__(self) -> str:
        return f"level {self.level} -> block {self.block}"


Points = tuple[InsertionPoint, ...]

CNN_INSERTION_POINTS: Points = tuple(InsertionPoint(level=level, block=5 - level) for level in range(5))
ALL_POINTS = CNN_INSERTION_POINTS
NO_POINTS: Points = ()


def finest(number: int, points: Points = ALL_POINTS) -> Points:
    """The `number` points with the finest maps, which have the highest levels."""
    return points[len(points) - _number(number, points) :]


def coarsest(number: int, points: Points = ALL_POINTS) -> Points:
    """The `number` points with the coarsest maps, which have the lowest levels."""
    return points[: _number(number, points)]


def only(level: int, points: Points = ALL_POINTS) -> Points:
    """The one point of a decoder level."""
    chosen = tuple(point for point in points if point.level == level)
    if not chosen:
        raise ValueError(f"no insertion point has level {level}; there are: {_listed(points)}")
    return chosen


def without(level: int, points: Points = ALL_POINTS) -> Points:
    """All points but that of a decoder level."""
    left_out = only(level, points)
    return tuple(point for point in points if point not in left_out)


def check_points(points: Points, existing: Points) -> None:
    """ValueError for the first point that is not among the existing ones."""
    for point in points:
        if point not in existing:
            raise ValueError(f"there is no insertion point {point}; there are: {_listed(existing)}")


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Which points have an adapter, in any order, and how their weights start.

    `initial_std`: standard deviation of the initial weights, 0 for adapters that add nothing at first; None stands for
    Glorot uniform.
    """

    points: Points = ALL_POINTS
    initial_std: float | None = None

    def __post_init__(self) -> None:
        if len(set(self.points)) != len(self.points):
            raise ValueError(f"points has a point twice: {_listed(self.points)}")
        if self.initial_std is not None and self.initial_std < 0:
            raise ValueError(f"initial_std is {self.initial_std}; it has to be at least 0, or None")
        # One set of points is one configuration, in whatever order it was written.
        object.__setattr__(self, "points", tuple(sorted(self.points)))


class Adapters(nn.Module):
    """What a backend's adapters offer: a first half without parameters, and the rest.

    They stand apart so that what the first half makes of a frozen U-Net's maps can be kept.
    """

    def prepare(self, maps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """From all decoder maps to what the adapters need of them, by level."""
        raise NotImplementedError

    def forward(self, prepared: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """What is added to the input of each block, by block."""
        raise NotImplementedError


class CNNAdapters(Adapters):
    """Max pool over frequency, then a 1x1 convolution, for each point.

    The pool makes the map's bins the block's mels: 256 bins and 128 mels, the paper's, give 2.
    """

    def __init__(
        self,
        config: AdapterConfig,
        maps: Mapping[int, tuple[int, int, int]],
        blocks: Mapping[int, tuple[int, int, int]],
    ) -> None:
        """`maps`: (channels, frames, bins) by decoder level; `blocks`: the same of what enters each backend block."""
        super().__init__()
        check_points(config.points, CNN_INSERTION_POINTS)
        for point in config.points:
            _check_shapes(point, maps[point.level], blocks[point.block])
        self.points = config.points
        self.pools = {point.level: maps[point.level][2] // blocks[point.block][2] for point in config.points}
        self.convolutions = nn.ModuleDict(
            {str(point.level): nn.Conv2d(maps[point.level][0], blocks[point.block][0], 1) for point in config.points}
        )

    def prepare(self, maps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """The pooled maps of the levels in use."""
        return {level: functional.max_pool2d(maps[level], (1, pool)) for level, pool in self.pools.items()}

    def forward(self, prepared: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """What is added to the input of each block, by block."""
        return {point.block: self.convolutions[str(point.level)](prepared[point.level]) for point in self.points}


def _check_shapes(point: InsertionPoint, map_shape: tuple[int, int, int], block_input: tuple[int, int, int]) -> None:
    if map_shape[1] != block_input[1] or map_shape[2] % block_input[2]:
        given = f"the map is {map_shape[1:]}, the block's input {block_input[1:]} (frames, bins)"
        raise ValueError(f"{point}: {given}; needed: as many frames, and a whole multiple of the bins")


def _number(number: int, points: Points) -> int:
    if not 0 <= number <= len(points):
        raise ValueError(f"{number} insertion points were asked for; there are {len(points)}: {_listed(points)}")
    return number


def _listed(points: Points) -> str:
    return ", ".join(map(str, points)) or "none"
