"""The opening: what was studied and the answer, no stronger than the planned comparisons allow."""

from collections.abc import Mapping, Sequence
from statistics import median

from study.report.arm_names import in_words
from study.report.blocks import signed
from study.report.facts import Facts
from study.report.further_seeds import FurtherSeeds, further_seeds
from study.report.study_comparisons import StudyComparisons, title_of
from study.statistics.comparisons import Comparison, ComparisonResult
from study.statistics.power import ALPHA

# Of more questions only those are told that found an answer.
MOST_QUESTIONS = 6


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
    sentences = told(facts, comparing)
    sentences += [_incomplete(facts), _scope(facts)]
    return [sentence for sentence in sentences if sentence]


def told(facts: Facts, comparing: StudyComparisons) -> list[str]:
    """What the planned comparisons show and what they do not, in sentences."""
    if not comparing.planned:
        return ["No comparison was planned, so nothing here is tested. The tables describe what was measured."]
    questions = _questions(comparing.planned)
    told = [members for members in questions if any(one.star or one.equivalent for one in members)]
    # What is shown comes first; of few questions all are told.
    told += [members for members in questions if members not in told and len(questions) <= MOST_QUESTIONS]
    told, rest = told[:MOST_QUESTIONS], told[MOST_QUESTIONS:]
    further = further_seeds(facts, comparing, [one for members in told for one in members])
    sentences = [_sentence(facts, members, further) for members in told]
    if any(one.star for members in told for one in members):
        sentences.append(f"* Significant at 5 %, corrected for {_many(comparing.family_size, 'planned test')} (Holm).")
    if rest:
        sentences.append(f"{_many(len(rest), 'further question')} also found an answer; see “The arms”.")
    sentences += _not_shown(facts, [one for members in told for one in members], comparing)
    undecided = [one for one in comparing.planned if one.reasons]
    if undecided:
        reasons = [reason for one in undecided for reason in one.reasons]
        sentences.append(
            f"{len(undecided)} of {_many(len(comparing.planned), 'planned comparison')} cannot be decided by these "
            f"runs: {max(reasons, key=reasons.count)}."
        )
    return sentences


def _questions(planned: Sequence[ComparisonResult]) -> list[list[ComparisonResult]]:
    """The decided comparisons, those of one arm in one metric together."""
    found: dict[tuple[str, str], list[ComparisonResult]] = {}
    for one in planned:
        if not one.reasons:
            found.setdefault((one.comparison.arm, one.comparison.metric), []).append(one)
    return list(found.values())


def _sentence(facts: Facts, members: Sequence[ComparisonResult], further: Mapping[Comparison, FurtherSeeds]) -> str:
    """What is known of one arm in one metric."""
    arm, metric = members[0].comparison.arm, members[0].comparison.metric
    place = f"the {metric}" if metric in facts.groups else title_of(facts, metric)
    clauses = [_clause(facts, one, further.get(one.comparison)) for one in members]
    notes = "".join(dict.fromkeys(f" This {one.note}." for one in members if one.note))
    return f"In {place}, {in_words(facts.arms, arm)} {'; it '.join(clauses)}.{notes}"


def _clause(facts: Facts, one: ComparisonResult, further: FurtherSeeds | None) -> str:
    assert one.interval is not None and one.difference is not None
    low, high = (signed(value, facts.digits) for value in (one.interval.low, one.interval.high))
    above = sum(value > 0 for value in one.differences)
    numbers = f"{signed(one.difference, facts.digits)} [{low}, {high}], above on {above} of {len(one.seeds)} seeds"
    other = in_words(facts.arms, one.comparison.against)
    if one.star:
        rest = f", yet the two are equivalent within {one.margin:g}" if one.equivalent else ""
        return f"scores {'higher' if one.difference > 0 else 'lower'} than {other}{rest}: {numbers} *"
    if one.equivalent:
        return f"is equivalent to {other} within {one.margin:g}: {numbers}"
    return f"is not shown to differ from {other}: {numbers}" + (f" ({further})" if further else "")


def _not_shown(facts: Facts, told: Sequence[ComparisonResult], comparing: StudyComparisons) -> list[str]:
    """How many of those that are not told show nothing, and what could have been shown at all."""
    quiet = [one for one in comparing.planned if not (one.star or one.equivalent or one.reasons)]
    untold, planned = len([one for one in quiet if one not in told]), len(comparing.planned)
    which = "all" if untold == planned else f"{untold} of"
    sentences = [f"In {which} {planned} planned comparisons no difference is shown."] if untold else []
    return [*sentences, _could_have_shown(facts, quiet, comparing.family_size)] if quiet else []


def _could_have_shown(facts: Facts, quiet: Sequence[ComparisonResult], num_tests: int) -> str:
    seeds = min(len(one.seeds) for one in quiet)
    effects = [one.smallest_detectable(alpha=ALPHA / num_tests) for one in quiet]
    smallest = median([effect for effect in effects if effect is not None])
    if smallest > 0.5:
        return f"With this spread, {seeds} seeds could not have shown any difference: read the signs as hints."
    return (
        f"The smallest difference that {seeds} seeds could have shown is {smallest:.{facts.digits}f} (median over what "
        f"shows none, 80 % power, corrected for {num_tests})."
    )


def _incomplete(facts: Facts) -> str:
    states = [state for by_seed in facts.states.values() for state in by_seed.values()]
    failed, pending = states.count("failed"), states.count("pending")
    parts = [f"{failed} failed" if failed else "", f"{pending} without a result yet" if pending else ""]
    told = ", ".join(filter(None, parts))
    return f"The answer is not complete. Of {_many(len(states), 'run')}, {told}." if told else ""


def _scope(facts: Facts) -> str:
    counts = [facts.corpora[task]["counts"] for task in facts.tasks if task in facts.corpora]
    trained = [by_split["train"] for by_split in counts if by_split.get("train")]
    labels = f" with {' and '.join(f'{number:,}' for number in trained)} labelled tracks to train on" if trained else ""
    replicates = f"{_many(len(facts.seeds), 'seed')} vary initial weights, order and crops on one corpus{labels}"
    return f"{replicates}. What holds for generated songs need not hold for recordings." if facts.generated else (
        f"{replicates}. Another corpus may give another answer."
    )  # fmt: skip


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
