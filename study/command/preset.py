"""Presets: named sizes of everything."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from components.corpora.generated.config import GeneratedConfig
from study.command.options import ExecutionOptions
from study.design.recipe import Recipe
from study.design.study import Study, with_random_weights


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named size of everything.

    Attributes:
        generated: size of the corpora that are generated where none are given.
        imagenet: whether ImageNet weights exist for the transformer's size.
    """

    description: str
    generated: GeneratedConfig
    recipe: Recipe
    imagenet: bool = False


def preset_of(presets: Mapping[str, Preset], options: ExecutionOptions) -> Preset:
    """The preset that the options name; ValueError for an unknown name."""
    if options.preset not in presets:
        raise ValueError(f"--preset {options.preset!r} does not exist; there are: {', '.join(presets)}")
    return presets[options.preset]


def with_available_weights(
    study: Study, preset: Preset, options: ExecutionOptions, say: Callable[[str], None]
) -> Study:
    """The study, with backends that start at random if no ImageNet weights fit the preset and no file is given."""
    if preset.imagenet or options.imagenet_weights:
        return study
    at_random = with_random_weights(study)
    if at_random != study:
        say(f"Preset {options.preset}: no ImageNet weights of its size exist, backends start at random")
    return at_random
