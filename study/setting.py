"""The setting of trials: what options and a preset resolve to before anything is trained."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from components.corpora.generated.config import GeneratedConfig, Kind
from study.corpora import open_corpora
from study.design import Study, from_random
from study.display import told_of_corpora
from study.options import SiteOptions, corpora_folder
from study.site import Site, default_storage
from study.store import Store
from study.trial import Trial
from study.unfold import Corpora, Recipe
from study.weights import add_weights, check_place, weights_to_plan_with


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named size of everything.

    `generated` is the corpora's where no data are given; `imagenet`: ImageNet weights exist in the transformer's size.
    """

    description: str
    generated: GeneratedConfig
    recipe: Recipe
    imagenet: bool = False


def preset_of(presets: Mapping[str, Preset], options: SiteOptions) -> Preset:
    """The one that is asked for; ValueError for a name that there is not."""
    if options.preset not in presets:
        raise ValueError(f"--preset {options.preset!r} does not exist; there are: {', '.join(presets)}")
    return presets[options.preset]


def startable(study: Study, preset: Preset, options: SiteOptions, say: Callable[[str], None]) -> Study:
    """In a size that ImageNet weights do not exist in, backends start at random, unless a file of them is given."""
    if preset.imagenet or options.imagenet_weights:
        return study
    drawn = from_random(study)
    if drawn != study:
        say(f"Preset {options.preset}: no ImageNet weights of its size exist, backends start at random")
    return drawn


class Setting:
    """The store at hand, corpora opened, the recipe complete: all that trials need to unfold and to be trained.

    Raises:
        ValueError: a corpus or weights that do not fit.
        OSError: the storage is not writable, or a corpus is not there.
    """

    def __init__(
        self, trials: Sequence[Trial], name: str, preset: Preset, options: SiteOptions, console: Console
    ) -> None:
        self._trials, self._preset, self._options, self._console = trials, preset, options, console
        check_place(options.imagenet_weights, wanted=bool(self._from_imagenet))
        self.store = Store(options.storage or default_storage(name))
        self.store.check_writable()
        self.corpora = self._open_corpora()
        self.site: Site = options.site(self.store.location, self.corpora.places)
        self.recipe = self._resolved(preset.recipe)

    @property
    def _from_imagenet(self) -> set[str | None]:
        """The backends that start from ImageNet weights."""
        return {trial.backend for trial in self._trials if trial.weights == "imagenet"}

    def _resolved(self, recipe: Recipe) -> Recipe:
        """The recipe with the arithmetic that this site has, and the weights that the trials start from."""
        recipe = replace(recipe, arithmetic=self._options.arithmetic())
        names = self._from_imagenet
        if not names:
            return recipe
        backends = [entry.network for name, entry in recipe.backends.items() if name in names]
        place, say = self._options.imagenet_weights, partial(self._console.print, highlight=False, soft_wrap=True)
        add = partial(weights_to_plan_with, say=say) if self._options.plan else add_weights
        return replace(recipe, weights=add(self.store, place, backends))

    def _open_corpora(self) -> Corpora:
        tasks: list[Kind] = [trial.task for trial in self._trials]
        needs_separation = any(trial.source not in (None, "none") for trial in self._trials)
        kinds: list[Kind] = [*(["separation"] if needs_separation else []), *dict.fromkeys(tasks)]
        given, generated = self._options.given_corpora, self._preset.generated
        folder = corpora_folder(self.store.location) if any(given[kind] is None for kind in kinds) else Path()
        told, cache = told_of_corpora(self._console), self._options.corpus_cache
        corpora = open_corpora(kinds, given, generated, folder, told, cache=cache)
        if self._options.verify:
            for corpus in corpora.by_kind.values():
                corpus.verify()
        return corpora
