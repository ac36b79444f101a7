"""The setting of trials: what options and a preset resolve to before anything is trained."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from components.corpora.generated.config import Kind
from study.cluster.execution import Execution, default_storage
from study.command.display import corpora_progress
from study.command.options import ExecutionOptions, corpora_folder
from study.command.preset import Preset
from study.corpora.corpora import Corpora, open_corpora
from study.design.recipe import Recipe
from study.design.trial import Trial
from study.kinds.weights import add_weights, check_place, weights_to_plan_with
from study.store.store import Store


class Resolved:
    """The store at hand, corpora opened, the recipe complete: all that trials need to unfold and to be trained.

    Raises:
        ValueError: a corpus or weights that do not fit.
        OSError: the storage is not writable, or a corpus is not there.
    """

    def __init__(
        self, trials: Sequence[Trial], name: str, preset: Preset, options: ExecutionOptions, console: Console
    ) -> None:
        self._trials, self._preset, self._options, self._console = trials, preset, options, console
        check_place(options.imagenet_weights, wanted=bool(self._from_imagenet))
        self.store = Store(options.storage or default_storage(name))
        self.store.check_writable()
        self.corpora = self._open_corpora()
        self.execution: Execution = options.execution(self.store.location, self.corpora.places)
        self.recipe = self._resolved(preset.recipe)

    @property
    def _from_imagenet(self) -> set[str | None]:
        """The backends that start from ImageNet weights."""
        return {trial.backend for trial in self._trials if trial.weights == "imagenet"}

    def _resolved(self, recipe: Recipe) -> Recipe:
        """The recipe with the arithmetic that is asked for, and the weights that the trials start from."""
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
        told, cache = corpora_progress(self._console), self._options.corpus_cache
        corpora = open_corpora(kinds, given, generated, folder, told, cache=cache)
        if self._options.verify:
            for corpus in corpora.by_kind.values():
                corpus.verify()
        return corpora
