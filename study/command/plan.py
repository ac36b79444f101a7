"""What a command would do, before it does it: the arms and stages of a study, and why a stage has to be trained."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from study.cluster.execution import Execution
from study.corpora.corpora import Corpora
from study.design.metrics import METRICS
from study.design.study import PlannedRun, Study
from study.stages.graph import StageGraph
from study.stages.identity import canonical, difference, digest
from study.stages.stage import Stage
from study.statistics.power import ALPHA, smallest_detectable_effect
from study.store.storage import concurrently
from study.store.store import Store


def headline(study: Study, runs: Iterable[PlannedRun], graph: StageGraph) -> str:
    """Arms, runs and stages in numbers."""
    num_seeds = len(study.seeds)
    return (
        f'Study "{study.name}": {len(study.arms)} arms x {num_seeds} seed{"" if num_seeds == 1 else "s"} = '
        f"{len(study.arms) * num_seeds} runs, {len(graph)} unique stages ({num_alone(runs)} if every run trained its "
        "own)"
    )


def num_alone(runs: Iterable[PlannedRun]) -> int:
    """Stages to train if the runs shared none."""
    return sum(len(run.stages) for run in runs)


def check(graph: StageGraph, store: Store, execution: Execution) -> None:
    """ValueError, naming a stage, for what cannot be trained on its corpus; seeds make no difference to that."""
    done = store.done_identities(graph.identities)
    alike: dict[str, Stage] = {}
    for stage in graph:
        if stage.identity not in done:
            alike.setdefault(digest([stage.kind.name, canonical(replace(stage.config, seed=0)), stage.corpus]), stage)
    for stage in alike.values():
        try:
            stage.kind.check(
                stage.config, execution.corpora[stage.corpus], execution.resources_of(stage.kind.name).num_workers
            )
        except ValueError as error:
            raise ValueError(f"{stage.label}: {error}") from error


def known_groups(groups: Mapping[str, Sequence[str]], corpora: Corpora) -> dict[str, Sequence[str]]:
    """Of groups of tags those whose tags the tagging corpus has."""
    known = {*corpora.by_kind["tagging"].classes} if "tagging" in corpora.by_kind else set()
    return {name: tags for name, tags in groups.items() if {*tags} <= known}


def check_comparisons(study: Study, groups: Mapping[str, Sequence[str]]) -> None:
    """ValueError for a planned comparison in what no run of its task measures."""
    tasks = {arm.name: arm.trial.task for arm in study.arms}
    for arm, _, metric in study.comparisons:
        task = tasks[arm]
        allowed = [*METRICS[task], *(groups if task == "tagging" else ())]
        if metric not in allowed:
            raise ValueError(f"Study.compare asks for {metric!r} of {task}; there are: {', '.join(allowed)}")


def print_plan(study: Study, runs: Iterable[PlannedRun], graph: StageGraph, store: Store, console: Console) -> None:
    """The arms with their factors, the stages and which of them are done."""
    _say(console, headline(study, runs, graph))
    arms = [(arm.name, *arm.trial.factors.values()) for arm in study.arms]
    for line in _aligned([("arm", *study.arms[0].trial.factors), *arms]):
        _say(console, f"  {line}")
    done = store.done_identities(graph.identities)
    for stage in graph:
        _say(console, f"  {'done  ' if stage.identity in done else 'to run'}  {stage.identity[:8]}  {stage.label}")
    _say(console, f"{len(done)} of {len(graph)} stages are done; {len(graph) - len(done)} would run.")


def smallest_effect(study: Study, spreads: Mapping[tuple[str, str, str], float]) -> str:
    """What so many seeds can show; `spreads`: (task, backend, metric) -> standard deviation over seeds, if known."""
    num_seeds, num_planned = len(study.seeds), max(len(study.comparisons), 1)
    if num_seeds < 2:
        return "One seed shows no effect, whatever its size: there is no interval without a second."
    in_sds = smallest_detectable_effect(num_seeds, 1.0, alpha=ALPHA / num_planned)
    corrected = f", corrected for {num_planned} comparisons" if num_planned > 1 else ""
    told = (
        f"The smallest effect that {num_seeds} seeds show (80 % power, paired t test{corrected}): {in_sds:.1f} "
        "standard deviations of the paired differences"
    )
    # Differences of runs that pair no better than any two.
    known = {key: in_sds * 2**0.5 * sd for key, sd in spreads.items() if key in _measured(study)}
    numbers = ", ".join(
        f"{effect:.4f} {metric} ({task}, {backend})" for (task, backend, metric), effect in known.items()
    )
    return f"{told}; by the spread of the paper's runs, unpaired, {numbers}." if known else f"{told}."


def _measured(study: Study) -> set[tuple[str, str | None, str]]:
    trials = {arm.name: arm.trial for arm in study.arms}
    return {(trials[arm].task, trials[arm].backend, metric) for arm, _, metric in study.comparisons}


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with the cells of each column below each other, however wide that gets."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def explanation(run: PlannedRun, store: Store) -> Iterator[str]:
    """Lines that say of each stage of a run that it is reused, or how it differs from the most similar one that is."""
    done = sorted(store.done_identities(store.identities()))
    known = concurrently(store.stage_json, done)
    for stage in run.stages:
        if stage.identity in done:
            yield f"{stage.label}: done, reused"
        else:
            yield from _why_new(stage, known, store)


def _why_new(stage: Stage, known: Iterable[Mapping[str, Any]], store: Store) -> Iterator[str]:
    alike = [entry for entry in known if entry["description"]["kind"] == stage.kind.name]
    if store.attempts(stage.identity):
        yield f"{stage.label}: begun, not done; {_last_outcome(stage, store)}"
    elif not alike:
        yield f"{stage.label}: new; no {stage.kind.name} stage is done"
    else:
        nearest = min(
            alike, key=lambda entry: (len(_changes(entry["description"], stage)), entry["label"] != stage.label)
        )
        yield f'{stage.label}: new; like "{nearest["label"]}", but'
        yield from (f"    {line}" for line in _changes(nearest["description"], stage))


def _last_outcome(stage: Stage, store: Store) -> str:
    outcome = store.outcome(stage.identity, store.attempts(stage.identity)[-1])
    return f"the last attempt failed: {outcome['error']}" if outcome else "it goes on from its last saved state"


def _changes(before: Mapping[str, Any], stage: Stage) -> list[str]:
    """What changed, one line per field; of parents only that they are others, since their own lines say why."""
    after = stage.description
    lines = difference(
        {name: value for name, value in before.items() if name != "parents"},
        {name: value for name, value in after.items() if name != "parents"},
    )
    roles = sorted(before["parents"].keys() | after["parents"].keys())
    return [line.removeprefix("config.") for line in lines] + [
        f"its {role} {_change(before['parents'].get(role), after['parents'].get(role))}"
        for role in roles
        if before["parents"].get(role) != after["parents"].get(role)
    ]


def _change(before: str | None, after: str | None) -> str:
    if before is None:
        return "comes from a stage, was drawn at random"
    return "is drawn at random, came from a stage" if after is None else "comes from another stage"


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
