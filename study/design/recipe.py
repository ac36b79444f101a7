"""A recipe: how the stages of any trial are trained, their sizes and schedules."""

from collections.abc import Mapping
from dataclasses import dataclass

from components.networks.backend import BackendConfig
from components.networks.spectrogram import MelConfig, SpectrogramConfig
from components.networks.unet import UNetConfig
from components.objectives.classification import SegmentConfig
from components.objectives.separation import RemixConfig, SeparationLossConfig
from components.training.training_config import TrainingConfig
from study.kinds.arithmetic import Arithmetic
from study.kinds.weights import Weights


@dataclass(frozen=True, kw_only=True)
class BackendRecipe:
    """A backend's size, its training alone, and its joint finetuning for each level of the factor `unet`."""

    network: BackendConfig
    training: TrainingConfig
    finetuning: Mapping[str, TrainingConfig]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the stages of any trial are trained: sizes and schedules, for each level where they depend on one.

    Attributes:
        separation_training: for each source.
        separation_frames, separation_evaluation_frames: length of separation segments in training and in scoring.
        probe_frames: length of a probe's segments.
        weights: the file that backends with weights "imagenet" start from.
        start_separator, start_backend: those of arms with separators, or weights, "exported".
    """

    spectrogram: SpectrogramConfig = SpectrogramConfig()
    mel: MelConfig = MelConfig()
    unet: UNetConfig = UNetConfig()
    backends: Mapping[str, BackendRecipe]
    separation_frames: int
    separation_evaluation_frames: int | None = None
    remix: RemixConfig = RemixConfig()
    separation_loss: SeparationLossConfig = SeparationLossConfig()
    separation_training: Mapping[str, TrainingConfig]
    segments: SegmentConfig = SegmentConfig()
    probe_frames: int
    adapters_initial_std: float | None = None
    calibration_batches: int = 16
    weights: Weights | None = None
    start_separator: Weights | None = None
    start_backend: Weights | None = None
    arithmetic: Arithmetic = Arithmetic()
