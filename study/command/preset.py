"""Presets: named sizes of everything."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from components.corpora.generated.config import GeneratedConfig
from study.command.options import ExecutionOptions
from study.design.recipe import Recipe
from study.design.study import Study, from_random


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named size of everything.

    `generated` is the corpora's where no data are given; `imagenet`: ImageNet weights exist in the transformer's size.
    """

    description: str
    generated: GeneratedConfig
    recipe: Recipe
    imagenet: bool = False


def preset_of(presets: Mapping[str, Preset], options: ExecutionOptions) -> Preset:
    """The one that is asked for; ValueError for a name that there is not."""
    if options.preset not in presets:
        raise ValueError(f"--preset {options.preset!r} does not exist; there are: {', '.join(presets)}")
    return presets[options.preset]


def startable(study: Study, preset: Preset, options: ExecutionOptions, say: Callable[[str], None]) -> Study:
    """In a size that ImageNet weights do not exist in, backends start at random, unless a file of them is given."""
    if preset.imagenet or options.imagenet_weights:
        return study
    drawn = from_random(study)
    if drawn != study:
        say(f"Preset {options.preset}: no ImageNet weights of its size exist, backends start at random")
    return drawn
