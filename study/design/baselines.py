"""Baselines: the arm that each arm is compared with, its own backend alone."""

from collections.abc import Mapping

Factors = Mapping[str, str]


def baselines(arms: Mapping[str, Factors]) -> dict[str, str]:
    """Arm -> its baseline: an arm of the same task, backend, weights and labels; probes have probes as baselines.

    It is the backend alone (for probes: the mixture) or, if there is none, the reference. An arm with neither is left
    out. `arms`: the factors of each arm.
    """
    found = {}
    for arm, own in arms.items():
        alike = [other for other, factors in arms.items() if _is_comparable(own, factors)]
        alone = [other for other in alike if arms[other]["source"] == "-"]
        for baseline in [*alone, *(other for other in alike if other == "reference")][:1]:
            found |= {} if baseline == arm else {arm: baseline}
    return found


def _is_comparable(one: Factors, other: Factors) -> bool:
    both = (one.get("scheme") == "probe") == (other.get("scheme") == "probe")
    return both and all(one.get(factor) == other.get(factor) for factor in ("task", "backend", "weights", "labels"))
