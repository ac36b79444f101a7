"""What an arm is shown against: its own backend alone."""

from collections.abc import Mapping

Factors = Mapping[str, str]


def baselines(arms: Mapping[str, Factors]) -> dict[str, str]:
    """Arm -> the arm that it is compared with, of the same task, backend and weights, probes among themselves.

    That is the backend alone (of probes the mixture), where there is none the reference; arms without either are not
    named. `arms`: the factors of each.
    """
    found = {}
    for arm, own in arms.items():
        alike = [other for other, factors in arms.items() if _alike(own, factors)]
        alone = [other for other in alike if arms[other]["source"] == "-"]
        for other in [*alone, *(one for one in alike if one == "reference")][:1]:
            found |= {} if other == arm else {arm: other}
    return found


def _alike(one: Factors, other: Factors) -> bool:
    probes = (one.get("scheme") == "probe") == (other.get("scheme") == "probe")
    return probes and all(one.get(factor) == other.get(factor) for factor in ("task", "backend", "weights"))
