"""Starts: arms that begin from networks which another study has exported."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from study.command.options import ExecutionOptions
from study.design.arms import Arm
from study.design.recipe import Recipe
from study.design.trial import Trial
from study.design.trial_to_stages import SEPARATED
from study.store.store import Store
from study.use.exported import Exported, backend_of, check_fits, read_exported, separator_of


@dataclass(frozen=True, kw_only=True)
class Starts:
    """The networks that the options give; "" as level: none is given."""

    separator: Exported | None = None
    source: str = ""
    backend: Exported | None = None
    backend_level: str = ""

    @classmethod
    def given(cls, options: ExecutionOptions, recipe: Recipe) -> "Starts":
        """Reads and checks them; ValueError or FileNotFoundError, naming the option, for what does not fit."""
        found = cls()
        if options.start_separator:
            exported = read_exported("--start-separator", options.start_separator)
            config = separator_of(exported)
            source = next(name for name, sources in SEPARATED.items() if name != "none" and sources == config.sources)
            unet = replace(recipe.unet, num_sources=len(config.sources))
            check_fits(exported, config, replace(config, unet=unet, spectrogram=recipe.spectrogram))
            found = replace(found, separator=exported, source=source)
        if options.start_backend:
            exported = read_exported("--start-backend", options.start_backend)
            config = backend_of(exported)
            level = next((n for n, b in recipe.backends.items() if type(b.network) is type(config)), "")
            if not level:
                raise ValueError(
                    f"{exported.given} is of a backend that the preset lacks; it has: {', '.join(recipe.backends)}"
                )
            check_fits(exported, config, recipe.backends[level].network)
            found = replace(found, backend=exported, backend_level=level)
        return found

    def started(self, arms: Iterable[Arm]) -> list[Arm]:
        """The arms, from these networks where they fit; ValueError if one of them is of use to no arm."""
        arms = list(arms)
        changed = [replace(arm, trial=self._started(arm.trial)) for arm in arms]
        for exported, factor, level in (
            (self.separator, "source", self.source),
            (self.backend, "backend", self.backend_level),
        ):
            there = dict.fromkeys(str(getattr(arm.trial, factor)) for arm in arms if getattr(arm.trial, factor))
            if exported is not None and level not in there:
                raise ValueError(f"{exported.given} is for {factor} {level!r}; the arms have: {', '.join(there)}")
        return changed

    def _started(self, trial: Trial) -> Trial:
        if self.separator is not None and trial.source == self.source:
            trial = replace(trial, separators="exported")
        if self.backend is not None and trial.backend == self.backend_level and trial.weights == "random":
            trial = replace(trial, weights="exported")
        return trial

    def in_recipe(self, recipe: Recipe, store: Store) -> Recipe:
        """The recipe with their weights, which are put into the store."""
        separator = None if self.separator is None else self.separator.add_to(store)
        backend = None if self.backend is None else self.backend.add_to(store)
        return replace(recipe, start_separator=separator, start_backend=backend)
