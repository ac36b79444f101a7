"""What a command's options resolve to, before anything is trained: a store, corpora, a recipe, places and resources."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from components.corpora.generated.config import Kind
from study.cluster.execution import Execution, default_storage
from study.cluster.expected_seconds import MEASURED_COLUMNS, ExpectedSeconds
from study.command.display import generation_progress
from study.command.options import ExecutionOptions, corpora_folder
from study.command.preset import Preset
from study.command.starts import Starts
from study.corpora.corpora import Corpora, open_corpora
from study.design.trial import Trial
from study.kinds.weights import add_weights, check_weights_file, weights_to_plan_with
from study.records.records import Records
from study.store.store import Store


class ResolvedOptions:
    """The store, the opened corpora and the complete recipe: all that these trials need to become stages and to train.

    Raises:
        ValueError: a corpus or weights that do not fit.
        OSError: the storage is not writable, or a corpus is not there.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        name: str,
        preset: Preset,
        options: ExecutionOptions,
        *,
        starts: Starts,
        console: Console,
    ) -> None:
        from_imagenet = {trial.backend for trial in trials if trial.weights == "imagenet"}
        check_weights_file(options.imagenet_weights, wanted=bool(from_imagenet))
        self.store = Store(options.storage or default_storage(name))
        self.store.check_writable()
        self.corpora = self._open_corpora(trials, preset, options, console)
        self.execution: Execution = options.execution(self.store.location, self.corpora.places)
        self.recipe = starts.in_recipe(replace(preset.recipe, arithmetic=options.arithmetic()), self.store)
        if from_imagenet:
            backends = [entry.network for name, entry in preset.recipe.backends.items() if name in from_imagenet]
            say = partial(console.print, highlight=False, soft_wrap=True)
            add = partial(weights_to_plan_with, say=say) if options.plan else add_weights
            self.recipe = replace(self.recipe, weights=add(self.store, options.imagenet_weights, backends))

    def expected_seconds(self) -> ExpectedSeconds:
        """How long stages are expected to take, from what the store's records tell."""
        rows = Records(self.store).read("stages").select(MEASURED_COLUMNS).to_pylist()
        return ExpectedSeconds(self.execution, self.corpora.folders, rows)

    def _open_corpora(
        self, trials: Sequence[Trial], preset: Preset, options: ExecutionOptions, console: Console
    ) -> Corpora:
        tasks: list[Kind] = [trial.task for trial in trials]
        needs_separation = any(
            trial.source not in (None, "none") and trial.separators != "exported" for trial in trials
        )
        kinds: list[Kind] = [*(["separation"] if needs_separation else []), *dict.fromkeys(tasks)]
        given = options.given_corpora
        folder = corpora_folder(self.store.location) if any(given[kind] is None for kind in kinds) else Path()
        report, cache = generation_progress(console), options.corpus_cache
        corpora = open_corpora(kinds, given, preset.generated, folder, report, cache=cache)
        if options.verify:
            for corpus in corpora.by_kind.values():
                corpus.verify()
        return corpora
