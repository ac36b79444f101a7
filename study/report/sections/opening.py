"""The opening: what was studied and the answer, no stronger than the planned comparisons allow."""

from collections.abc import Sequence
from statistics import median

from study.report.arm_names import in_words
from study.report.blocks import signed
from study.report.facts import Facts
from study.report.study_comparisons import StudyComparisons, title_of
from study.statistics.comparisons import ComparisonResult
from study.statistics.power import ALPHA


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
        return "Its corpora are not recorded."
    counts = [
        f"{kind} {sum(corpus['counts'].values()):,} tracks ({corpus['name']})" for kind, corpus in facts.corpora.items()
    ]
    kinds = ", ".join(counts) + "."
    if len(facts.generated) == len(facts.corpora):
        return f"All songs are generated: synthesised from a seed, not recorded. Corpora: {kinds}"
    if facts.generated:
        return (
            f"The songs of {' and '.join(facts.generated)} are generated, the others are recordings. Corpora: {kinds}"
        )
    return f"Corpora: {kinds}"


def answer(facts: Facts, comparing: StudyComparisons) -> list[str]:
    """Sentences: what was shown, what could have been shown, and what it holds for."""
    sentences = _shown(facts, comparing.planned)
    sentences += [_incomplete(facts), _scope(facts)]
    return [sentence for sentence in sentences if sentence]


def _shown(facts: Facts, planned: Sequence[ComparisonResult]) -> list[str]:
    if not planned:
        return ["No comparison was planned, so nothing here is tested. The tables describe what was measured."]
    stars = [one for one in planned if one.star]
    told = [_told(facts, one) for one in stars[:4]]
    if len(stars) > 4:
        told.append(f"{len(stars) - 4} further planned comparisons also have a star; see “The arms”.")
    testable = [one for one in planned if not one.star and not one.reasons]
    if testable:
        told.append(_not_shown(facts, testable, len(planned)))
    undecided = [one for one in planned if one.reasons]
    if undecided:
        reasons = [reason for one in undecided for reason in one.reasons]
        told.append(
            f"{len(undecided)} of {len(planned)} planned comparisons cannot be decided by these runs: "
            f"{max(reasons, key=reasons.count)}."
        )
    return told


def _told(facts: Facts, one: ComparisonResult) -> str:
    assert one.interval is not None and one.difference is not None
    arm, against, metric = one.comparison.arm, one.comparison.against, one.comparison.metric
    low, high = (signed(value, facts.digits) for value in (one.interval.low, one.interval.high))
    own, other = (f"{in_words(facts.arms, name)} (“{name}”)" for name in (arm, against))
    return (
        f"{own[0].upper()}{own[1:]} scores {'higher' if one.difference > 0 else 'lower'} than {other} in "
        f"{title_of(facts, metric)}, by "
        f"{abs(one.difference):.{facts.digits}f} (95 % interval {low} to {high} over {len(one.seeds)} seeds)."
        + (f" This {one.note}." if one.note else "")
    )


def _not_shown(facts: Facts, testable: Sequence[ComparisonResult], planned: int) -> str:
    seeds = min(len(one.seeds) for one in testable)
    effects = [one.smallest_detectable(alpha=ALPHA / planned) for one in testable]
    smallest = median([effect for effect in effects if effect is not None])
    which = "all" if len(testable) == planned else f"{len(testable)} of"
    begin = "In the one planned comparison" if planned == 1 else f"In {which} {planned} planned comparisons"
    start = f"{begin} no difference is shown"
    if smallest > 0.5:
        return f"{start}. With this spread, {seeds} seeds could not have shown any: read the signs as hints."
    return (
        f"{start}. The smallest effect that {seeds} seeds could have shown is {smallest:.{facts.digits}f} (median "
        "over "
        f"these comparisons, 80 % power, corrected for {planned})."
    )


def _incomplete(facts: Facts) -> str:
    states = [state for by_seed in facts.states.values() for state in by_seed.values()]
    failed, pending = states.count("failed"), states.count("pending")
    parts = [f"{failed} failed" if failed else "", f"{pending} without a result yet" if pending else ""]
    told = ", ".join(filter(None, parts))
    return f"The answer is not complete. Of {_many(len(states), 'run')}, {told}." if told else ""


def _scope(facts: Facts) -> str:
    replicates = f"{_many(len(facts.seeds), 'seed')} vary initial weights, order and crops on one corpus"
    return f"{replicates}. What holds for generated songs need not hold for recordings." if facts.generated else (
        f"{replicates}. Another corpus may give another answer."
    )  # fmt: skip


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
