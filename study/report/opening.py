"""The opening: what was studied and the answer, no stronger than the planned comparisons allow."""

from collections.abc import Sequence
from statistics import median

from study.comparisons import Compared
from study.report.blocks import signed
from study.report.comparing import Comparing, title_of
from study.report.facts import Facts


def studied(facts: Facts) -> str:
    """What was studied, in numbers."""
    runs = len(facts.arms) * len(facts.seeds)
    tasks = " and ".join(facts.tasks)
    return (
        f"{_many(len(facts.arms), 'arm')} × {_many(len(facts.seeds), 'seed')} = {_many(runs, 'run')} on {tasks}, "
        f"preset {facts.preset}. {_corpora(facts)}"
    )


def _corpora(facts: Facts) -> str:
    if not facts.corpora:
        return "Nothing is written down of its corpora."
    counts = [f"{kind}: {_tracks(corpus)} ({corpus['name']})" for kind, corpus in facts.corpora.items()]
    kinds = ", ".join(counts) + "."
    if len(facts.generated) == len(facts.corpora):
        return f"All songs are generated, synthesised from a seed, and no recordings: {kinds}"
    if facts.generated:
        return f"The songs of {' and '.join(facts.generated)} are generated, the others recordings: {kinds}"
    return f"Corpora: {kinds}"


def _tracks(corpus: dict) -> str:
    return f"{sum(corpus['counts'].values()):,} tracks"


def answer(facts: Facts, comparing: Comparing) -> list[str]:
    """Sentences: what was shown, what could have been shown, and what it holds for."""
    sentences = _shown(facts, comparing.planned)
    sentences += [_incomplete(facts), _scope(facts)]
    return [sentence for sentence in sentences if sentence]


def _shown(facts: Facts, planned: Sequence[Compared]) -> list[str]:
    if not planned:
        return ["No comparison was planned, so nothing here is tested; the tables describe what was measured."]
    stars = [one for one in planned if one.star]
    told = [_told(facts, one) for one in stars[:4]]
    if len(stars) > 4:
        told.append(f"{len(stars) - 4} further planned comparisons have a star as well; see the arms.")
    others = len(planned) - len(stars)
    testable = [one for one in planned if not one.star and not one.reasons]
    if testable:
        told.append(_not_shown(facts, testable, len(planned), others, bool(stars)))
    elif others:
        told.append(f"{_of_planned(others, len(planned))} can be decided by these runs: {_commonest(planned)}.")
    return told


def _told(facts: Facts, one: Compared) -> str:
    assert one.interval is not None and one.difference is not None
    arm, against, metric = one.comparison.arm, one.comparison.against, one.comparison.metric
    low, high = (signed(value, facts.digits) for value in (one.interval.low, one.interval.high))
    return (
        f"“{arm}” lies {'above' if one.difference > 0 else 'below'} “{against}” in {title_of(facts, metric)} by "
        f"{abs(one.difference):.{facts.digits}f} (95 % interval {low} to {high} over {len(one.seeds)} seeds)."
        + (f" This {one.note}." if one.note else "")
    )


def _not_shown(facts: Facts, testable: Sequence[Compared], planned: int, others: int, any_star: bool) -> str:
    seeds = min(len(one.seeds) for one in testable)
    effects = [one.smallest_detectable(alpha=0.05 / planned) for one in testable]
    smallest = median([effect for effect in effects if effect is not None])
    begin = f"For the other {others} of {planned}" if any_star else f"In {_all_of(planned)}"
    start = f"{begin} planned comparison{'s' if planned > 1 else ''} no difference is shown"
    if smallest > 0.5:
        return f"{start}, and {seeds} seeds that spread so much could have shown none: read the signs as hints."
    return (
        f"{start}; the smallest effect that {seeds} seeds could have shown is {smallest:.{facts.digits}f} (median over "
        f"the comparisons, 80 % power, corrected for {planned})."
    )


def _all_of(planned: int) -> str:
    return "the one" if planned == 1 else f"all {planned}"


def _of_planned(others: int, planned: int) -> str:
    return f"None of the {planned} planned comparisons" if others == planned else f"{others} of {planned} cannot"


def _commonest(planned: Sequence[Compared]) -> str:
    reasons = [reason for one in planned for reason in one.reasons]
    return max(reasons, key=reasons.count)


def _incomplete(facts: Facts) -> str:
    states = [state for by_seed in facts.states.values() for state in by_seed.values()]
    failed, pending = states.count("failed"), states.count("pending")
    parts = [f"{failed} failed" for _ in range(failed > 0)] + [f"{pending} not done" for _ in range(pending > 0)]
    return f"Of {len(states)} runs {' and '.join(parts)}: the answer is not complete." if parts else ""


def _scope(facts: Facts) -> str:
    replicates = f"{_many(len(facts.seeds), 'seed')} vary initial weights, order and crops, on one corpus"
    return f"{replicates}; what holds for generated songs need not hold for recordings." if facts.generated else (
        f"{replicates}; another corpus may answer otherwise."
    )  # fmt: skip


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
