"""What a command would do: the arms and stages of a study, and why a stage has to be trained."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rich.console import Console

from study.cluster.execution import Execution
from study.command.display import say
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
    """ValueError, with the stage's name, for a stage that cannot be trained on its corpus."""
    done = store.done_identities(graph.identities)
    # Stages that differ in the seed alone are checked once.
    different: dict[str, Stage] = {}
    for stage in graph:
        if stage.identity not in done:
            key = digest([stage.kind.name, canonical(replace(stage.config, seed=0)), stage.corpus])
            different.setdefault(key, stage)
    for stage in different.values():
        try:
            stage.kind.check(
                stage.config, execution.corpora[stage.corpus], execution.resources_of(stage.kind.name).num_workers
            )
        except ValueError as error:
            raise ValueError(f"{stage.label}: {error}") from error


def known_groups(groups: Mapping[str, Sequence[str]], corpora: Corpora) -> dict[str, Sequence[str]]:
    """The groups of tags, of each the tags that the tagging corpus has; groups of which it has none are left out."""
    known = {*corpora.by_kind["tagging"].classes} if "tagging" in corpora.by_kind else set()
    found = {name: [tag for tag in tags if tag in known] for name, tags in groups.items()}
    return {name: tags for name, tags in found.items() if tags}


def check_comparisons(study: Study, groups: Mapping[str, Sequence[str]]) -> None:
    """ValueError for a planned comparison in what is neither a metric of its task nor a group of tags."""
    tasks = {arm.name: arm.trial.task for arm in study.arms}
    for arm, _, metric in study.comparisons:
        allowed = [*METRICS[tasks[arm]], *(groups if tasks[arm] == "tagging" else ())]
        if metric not in allowed:
            raise ValueError(f"Study.compare asks for {metric!r} of {tasks[arm]}; there are: {', '.join(allowed)}")


def with_known_groups(
    study: Study, groups: Mapping[str, Sequence[str]], known: Mapping[str, Sequence[str]]
) -> tuple[Study, list[str]]:
    """The study without comparisons in groups of tags that its corpus has none of, and a line about each such group.

    `known`: see `known_groups`.
    """
    absent = Counter(metric for *_, metric in study.comparisons if metric in groups and metric not in known)
    kept = [replace(one, metrics=tuple(m for m in one.metrics if m not in absent)) for one in study.compare]
    lines = [
        f"The tagging corpus has none of the {name} ({', '.join(groups[name])}): "
        f"{number} planned comparison{'' if number == 1 else 's'} left out"
        for name, number in absent.items()
    ]
    margins = {metric: margin for metric, margin in study.margins.items() if metric not in absent}
    return replace(study, compare=[one for one in kept if one.metrics], margins=margins), lines


def print_plan(study: Study, runs: Iterable[PlannedRun], graph: StageGraph, store: Store, console: Console) -> None:
    """Prints the arms with their factors, the stages, and which of these are done."""
    say(console, headline(study, runs, graph))
    rows = [("arm", *study.arms[0].trial.factors), *((arm.name, *arm.trial.factors.values()) for arm in study.arms)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say(console, f"  {'  '.join(cells)}".rstrip())
    done = store.done_identities(graph.identities)
    for stage in graph:
        say(console, f"  {'done  ' if stage.identity in done else 'to run'}  {stage.identity[:8]}  {stage.label}")
    say(console, f"{len(done)} of {len(graph)} stages are done; {len(graph) - len(done)} would run.")


def smallest_effect(study: Study, spreads: Mapping[tuple[str, str, str], float]) -> str:
    """The smallest effect that so many seeds can show.

    `spreads`: (task, backend, metric) -> standard deviation over seeds, where it is known.
    """
    of_equivalence = [metric for _, _, metric in study.comparisons if metric in study.margins]
    num_seeds, num_tests = len(study.seeds), max(len(study.comparisons) + len(of_equivalence), 1)
    if num_seeds < 2:
        return "One seed shows no effect, whatever its size: there is no interval without a second."
    in_sds = smallest_detectable_effect(num_seeds, 1.0, alpha=ALPHA / num_tests)
    corrected = f", corrected for {num_tests} tests" if num_tests > 1 else ""
    smallest = (
        f"The smallest effect that {num_seeds} seeds show (80 % power, paired t test{corrected}): {in_sds:.1f} "
        "standard deviations of the paired differences"
    )
    trials = {arm.name: arm.trial for arm in study.arms}
    measured = {(trials[arm].task, trials[arm].backend, metric) for arm, _, metric in study.comparisons}
    # The difference of two independent runs varies by the root of two more than a run does.
    known = {key: in_sds * 2**0.5 * sd for key, sd in spreads.items() if key in measured}
    numbers = ", ".join(
        f"{effect:.4f} {metric} ({task}, {backend})" for (task, backend, metric), effect in known.items()
    )
    return f"{smallest}; by the spread of the paper's runs, unpaired, {numbers}." if known else f"{smallest}."


def explanation(run: PlannedRun, store: Store) -> Iterator[str]:
    """Lines that say of each stage of a run whether it is done or how it differs from the most similar one that is."""
    done = sorted(store.done_identities(store.identities()))
    known = [described for described in concurrently(partial(_described, store), done) if described is not None]
    for stage in run.stages:
        if stage.identity in done:
            yield f"{stage.label}: done, reused"
        else:
            yield from _why_not_done(stage, known, store)


def _described(store: Store, identity: str) -> dict[str, Any] | None:
    try:
        return store.stage_json(identity)
    except FileNotFoundError:  # damaged, or removed just now
        return None


def _why_not_done(stage: Stage, done: Iterable[Mapping[str, Any]], store: Store) -> Iterator[str]:
    same_kind = [entry for entry in done if entry["description"]["kind"] == stage.kind.name]
    if attempts := store.attempts(stage.identity):
        outcome = store.outcome(stage.identity, attempts[-1])
        last = f"the last attempt failed: {outcome['error']}" if outcome else "it goes on from its last saved state"
        yield f"{stage.label}: begun, not done; {last}"
    elif not same_kind:
        yield f"{stage.label}: new; no {stage.kind.name} stage is done"
    else:
        nearest = min(
            same_kind, key=lambda entry: (len(_changes(entry["description"], stage)), entry["label"] != stage.label)
        )
        yield f'{stage.label}: new; like "{nearest["label"]}", but'
        yield from (f"    {line}" for line in _changes(nearest["description"], stage))


def _changes(before: Mapping[str, Any], stage: Stage) -> list[str]:
    """What changed, one line per field. Of a parent only that it is another one: its own lines say why."""
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
