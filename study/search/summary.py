"""A search as people watch it: what it will do, how each trial ended, and what it found."""

from collections.abc import Iterator, Sequence

from optuna.trial import FrozenTrial

from study.design.hyperparameters import named
from study.design.metrics import METRICS
from study.search.arm_search import STATES, ArmSearch, is_complete
from study.stages.progress import duration
from study.store.store import Store


def headline(search: ArmSearch) -> str:
    """What the search maximises, with which budget, and when it stops a trial early."""
    method, halving = search.method, search.method.halving
    early = (
        f"stopped early after {' or '.join(map(str, halving.rungs(method.num_epochs)))}"
        if halving
        else "never stopped early"
    )
    return (
        f'Search "{search.name}": {method.sampler} for {", ".join(method.objectives)} on the validation '
        f"split, budget {search.budget}, {method.parallel} at once; {method.num_epochs} epochs a trial, {early}; "
        f"{len(search.ask_tell.ended)} trials have ended"
    )


def trial_lines(search: ArmSearch, trials: Sequence[FrozenTrial]) -> Iterator[str]:
    """How each of these trials ended, and after them which trial is the best so far."""
    for trial in trials:
        short = f" after {search.epochs(trial)} of {search.method.num_epochs} epochs"
        reached = f", {_scores(search, trial)}" if is_complete(trial) else short
        yield f"{search.name}: trial {trial.number} {STATES[trial.state]}{reached}"
    if trials and (best := search.ask_tell.best()) is not None:
        yield f"{search.name}: best so far is trial {best.number}, {_scores(search, best)}"


def outcome_lines(search: ArmSearch, store: Store) -> Iterator[str]:
    """How the trials ended, what early stopping saved, the winner and its test."""
    counts = ", ".join(f"{number} {state}" for state, number in search.counts().items())
    spent = sum(row["duration_s"] for row in search.rows())
    trained, whole = search.num_epochs
    is_early = search.method.halving is not None and whole > 0
    saved = f", {trained} of {whole} epochs ({1 - trained / whole:.0%} saved)" if is_early else ""
    yield f'Search "{search.name}": {counts or "no trial"}; {duration(spent)} of training{saved}'
    best = search.ask_tell.best()
    if best is None:
        yield "  no trial was completed"
        return
    yield f"  best: trial {best.number}, {_scores(search, best)} on the validation split; {named(best.params)}"
    tested = search.tested(store)
    metrics = {name: tested[name] for name in METRICS[search.arm.trial.task] if name in tested}
    yield f"  on the test split, used for the winner alone: {named(metrics)}"


def _scores(search: ArmSearch, trial: FrozenTrial) -> str:
    return named(dict(zip(search.method.objectives, trial.values, strict=True)))
