"""Adapters: from the U-Net's decoder maps to the inputs of a backend's blocks (PAPER sections 5 and 6).

An insertion point is the pair (decoder level, backend block). Its adapter makes the level's map fit the block's input,
and the two are fused. The backend says which block a level enters, so a study names levels alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Levels = tuple[int, ...]
Fusion = Literal["sum", "concatenation"]
AdapterStart = Literal["random", "zero", "patch-kernel"]
Shape = tuple[int, int, int]
# (block, its input) -> what enters the block.
Fuse = Callable[[int, Tensor], Tensor]

# The insertion points that every backend has, each named by its decoder level: 0 is the coarsest.
ALL_POINTS: Levels = (0, 1, 2, 3, 4)
NO_POINTS: Levels = ()


def finest(number: int) -> Levels:
    """The `number` points with the finest maps, which have the highest levels."""
    return ALL_POINTS[len(ALL_POINTS) - _number(number) :]


def coarsest(number: int) -> Levels:
    """The `number` points with the coarsest maps, which have the lowest levels."""
    return ALL_POINTS[: _number(number)]


def only(level: int) -> Levels:
    """The one point of a decoder level."""
    return checked_levels((level,))


def without(level: int) -> Levels:
    """All points but that of a decoder level."""
    return tuple(other for other in ALL_POINTS if other not in only(level))


def checked_levels(levels: Levels) -> Levels:
    """The levels in ascending order; ValueError for one that has no insertion point or stands there twice."""
    for level in levels:
        if level not in ALL_POINTS:
            raise ValueError(f"no insertion point has level {level}; there are: {', '.join(map(str, ALL_POINTS))}")
    if len(set(levels)) != len(levels):
        raise ValueError(f"{levels} has a point twice")
    return tuple(sorted(levels))


@dataclass(frozen=True, kw_only=True, order=True)
class InsertionPoint:
    """Decoder map `level` (0 is the coarsest) enters backend block `block`."""

    level: int
    block: int

    def __str__(self) -> str:
        return f"level {self.level} -> block {self.block}"


Points = tuple[InsertionPoint, ...]


def points_of(levels: Levels, existing: Points) -> Points:
    """The points of these levels; ValueError for a level that has none."""
    by_level = {point.level: point for point in existing}
    for level in levels:
        if level not in by_level:
            raise ValueError(f"no insertion point has level {level}; there are: {_listed(existing)}")
    return tuple(by_level[level] for level in levels)


def check_points(points: Points, existing: Points) -> None:
    """ValueError for the first point that is not among the existing ones."""
    for point in points:
        if point not in existing:
            raise ValueError(f"there is no insertion point {point}; there are: {_listed(existing)}")


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Which points have an adapter, in any order, how its weights start, and how it is fused with a block's input.

    Attributes:
        initialisation: "zero" adds nothing at first; "patch-kernel" is the initial patch kernel of a transformer
            backend, resized to the adapter's kernel (transposed convolutions stay random).
        initial_std: standard deviation of random weights; None stands for Glorot uniform.
        fusion: "concatenation" puts the adapted map beside the input and projects both back to the input's width; the
            projection starts as their sum.
    """

    points: Points
    initial_std: float | None = None
    initialisation: AdapterStart = field(default="random", metadata={"legacy": "random"})
    fusion: Fusion = field(default="sum", metadata={"legacy": "sum"})

    def __post_init__(self) -> None:
        if len(set(self.points)) != len(self.points):
            raise ValueError(f"points has a point twice: {_listed(self.points)}")
        if self.initial_std is not None and self.initial_std <= 0:
            raise ValueError(f"initial_std is {self.initial_std}; it has to be positive, or None")
        # One set of points is one configuration, in any order.
        object.__setattr__(self, "points", tuple(sorted(self.points)))


class Adapters(nn.Module):
    """A convolution for each point, under `convolutions.<level>`; with concatenation also `projections.<level>`.

    The step before them (`prepare`) has no parameters, so its output for a frozen U-Net's maps can be kept.
    `channel_axis` is that of a block's input.
    """

    channel_axis: ClassVar[int]

    def __init__(self, config: AdapterConfig, convolutions: Mapping[int, nn.Module], widths: Mapping[int, int]) -> None:
        """`convolutions` by decoder level; `widths`: channels of the input of the block that each level enters."""
        super().__init__()
        self.config = config
        self.convolutions = nn.ModuleDict({str(level): layer for level, layer in convolutions.items()})
        projected = widths if config.fusion == "concatenation" else {}
        self.projections = nn.ModuleDict({str(level): nn.Linear(2 * w, w) for level, w in projected.items()})

    def prepare(self, maps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """What the adapters need of the decoder maps, by level."""
        return {point.level: maps[point.level] for point in self.config.points}

    def adapt(self, layer: nn.Module, prepared: Tensor) -> Tensor:
        """One prepared map in the shape of the input that it meets."""
        return layer(prepared)

    def forward(self, prepared: Mapping[int, Tensor]) -> Fuse:
        """How the input of each block is fused; a block without a point keeps its own."""
        levels = {point.block: point.level for point in self.config.points}

        def fuse(block: int, x: Tensor) -> Tensor:
            if block not in levels:
                return x
            level = levels[block]
            adapted = self.adapt(self.convolutions[str(level)], prepared[level])
            return x + adapted if self.config.fusion == "sum" else self._project(level, x, adapted)

        return fuse

    def _project(self, level: int, x: Tensor, adapted: Tensor) -> Tensor:
        both = torch.cat([x, adapted], dim=self.channel_axis).movedim(self.channel_axis, -1)
        return self.projections[str(level)](both).movedim(-1, self.channel_axis)


@torch.no_grad()
def initialise_adapters(adapters: Adapters, patch_kernel: Tensor | None) -> None:
    """Sets the initial values that are not random: those of the configuration, and projections that are sums.

    `patch_kernel`: (width, 1, frames, mels), that of the backend at its start; None where it has none.
    """
    for layer in adapters.convolutions.values():
        if adapters.config.initialisation == "zero":
            _zero(layer)
        elif adapters.config.initialisation == "patch-kernel" and isinstance(layer, nn.Conv2d):
            assert patch_kernel is not None
            layer.weight.copy_(_shrunk(patch_kernel, layer.weight))
    for projection in adapters.projections.values():
        assert isinstance(projection, nn.Linear)
        projection.weight.copy_(torch.eye(projection.out_features).repeat(1, 2))


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _shrunk(kernel: Tensor, like: Tensor) -> Tensor:
    """The kernel at the size of another one, bilinearly, the same for each of its input channels."""
    small = functional.interpolate(kernel, size=like.shape[2:], mode="bilinear", align_corners=False)
    return small.expand_as(like)


def _number(number: int) -> int:
    if not 0 <= number <= len(ALL_POINTS):
        raise ValueError(f"{number} insertion points were asked for; there are {len(ALL_POINTS)}")
    return number


def _listed(points: Points) -> str:
    return ", ".join(map(str, points)) or "none"
