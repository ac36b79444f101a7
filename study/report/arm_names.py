"""Arms in words: what each was trained on and where it differs, for sentences; tables keep the names of the records."""

from collections import Counter
from collections.abc import Mapping

Factors = Mapping[str, str]
_SOURCES = {"none": "random U-Net", "multiple": "U-Net pre-trained on all four sources"}
_STARTS = {"imagenet": " from ImageNet weights", "exported": " from exported weights"}
# What the words say already, or what says nothing to a reader of the sentence.
_SAID = ("task", "backend", "source", "probe", "weights", "labels")


def in_words(arms: Mapping[str, Factors], arm: str) -> str:
    """For example "the U-Net pre-trained on drums, three-stage", with what its like among the arms do not share.

    `arms`: the factors of each arm of the study.
    """
    own = arms[arm]
    alike = [factors for factors in arms.values() if _kind(factors) == _kind(own)]
    told = [_level(name, level) for name, level in own.items() if name not in _SAID and level != _usual(alike, name)]
    places = [own["backend"].upper()] if _varies(arms, "backend") and own["source"] != "-" else []
    places = [place for place in [*places, *([own["task"]] if _varies(arms, "task") else [])] if place != "-"]
    where = f" ({' '.join(places)})" if places else ""
    return ", ".join([f"the {_subject(own)}{where}{_labels(arms, own)}", *told])


def _kind(factors: Factors) -> tuple[str, str, bool, bool]:
    """Task and backend, whether it is a probe, and whether it has no U-Net."""
    return factors["task"], factors["backend"], factors["scheme"] == "probe", factors["source"] == "-"


def _subject(factors: Factors) -> str:
    source = factors["source"]
    separator = _SOURCES.get(source, f"U-Net pre-trained on {source}")
    if factors["scheme"] == "probe":
        return "probe of the mixture" if source == "-" else f"probe of the {separator}"
    if source != "-":
        return separator
    return f"{factors['backend'].upper()} alone{_STARTS.get(factors['weights'], '')}"


def _labels(arms: Mapping[str, Factors], own: Factors) -> str:
    """How many, where the arms differ in it."""
    level = own.get("labels", "all")
    if len({factors.get("labels", "all") for factors in arms.values()}) == 1:
        return ""
    return f" with {level} labels" if level == "all" or level.isdecimal() else f" with {float(level):.0%} of the labels"


def _level(name: str, level: str) -> str:
    if name == "scheme":
        return level
    return f"U-Net {level}" if name == "unet" else f"{name} {level}"


def _usual(alike: list[Factors], name: str) -> str:
    """All insertion points; else the level that most arms of this kind have, of equally many the first."""
    levels = Counter(factors[name] for factors in alike)
    return "all" if name == "insertion" and "all" in levels else levels.most_common(1)[0][0]


def _varies(arms: Mapping[str, Factors], name: str) -> bool:
    return len({factors[name] for factors in arms.values()} - {"-"}) > 1
