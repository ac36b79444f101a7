"""The groups of workers that a command has: what each one does, and what they all take of the cluster."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from study.cluster.desk import Assignment
from study.cluster.execution import Resources
from study.stages.stage import Stage

PLACED_WITHIN_S = 900.0  # so long stages wait for a machine that could hold their group
State = Literal["starting", "idle", "working", "ending"]


@dataclass(kw_only=True)
class Group:
    """One group. `question`: the last one that it asked, `answer`: what it was told.

    `since`: when it last changed its state; `alive_at`: when its stage last showed a sign of life [s].
    """

    resources: Resources
    state: State = "starting"
    stage: Stage | None = None
    question: str = ""
    answer: Assignment | None = None
    since: float
    alive_at: float = 0.0


class Groups:
    """Groups by their name. `limit`: the CPUs and GPUs that the cluster can have."""

    def __init__(self, limit: Mapping[str, float]) -> None:
        self.limit = limit
        self._groups: dict[str, Group] = {}
        self._failed_starts: dict[Resources, int] = {}
        self._unplaced_since: dict[Resources, float] = {}

    def add(self, name: str, resources: Resources, now: float) -> None:
        """A group is about to start."""
        self._groups[name] = Group(resources=resources, since=now)

    def get(self, name: str) -> Group | None:
        return self._groups.get(name)

    def remove(self, name: str) -> Group | None:
        """A group has ended; None if that was known."""
        return self._groups.pop(name, None)

    def items(self) -> list[tuple[str, Group]]:
        return list(self._groups.items())

    def in_state(self, state: State, resources: Resources | None = None) -> list[Group]:
        """Groups in a state, of all kinds or with these resources."""
        return [g for g in self._groups.values() if g.state == state and resources in (None, g.resources)]

    def at_work(self) -> Iterator[tuple[Stage, float]]:
        """The stages that run, and since when."""
        return ((group.stage, group.since) for group in self._groups.values() if group.stage is not None)

    def only_starting(self) -> bool:
        """Whether there is no group that has asked for anything."""
        return all(group.state == "starting" for group in self._groups.values())

    def has_room(self, resources: Resources, *, when_ended: bool = False) -> bool:
        """Whether the cluster has room for another group, now or when those have ended that are about to."""
        used = self._used(without="ending" if when_ended else "")
        return all(used[name] + amount <= self.limit[name] + 1e-9 for name, amount in resources.total.items())

    def shortage(self, present: Mapping[str, float]) -> str:
        """What groups take that no machine has yet, in words; "" if nothing."""
        short = [
            f"{amount:g} {name} asked for, {present[name]:g} there"
            for name, amount in self._used().items()
            if amount > present[name]
        ]
        return f"waiting for machines: {', '.join(short)}" if short else ""

    def _used(self, without: str = "") -> dict[str, float]:
        """What all groups take, except for those in the state `without`."""
        totals = [group.resources.total for group in self._groups.values() if group.state != without]
        return {name: sum(total[name] for total in totals) for name in ("CPU", "GPU")}

    def note_start(self, resources: Resources) -> None:
        """A group with these resources has started, or nothing is tried with them any more: past troubles are over."""
        self._failed_starts.pop(resources, None)
        self._unplaced_since.pop(resources, None)

    def note_failed_start(self, resources: Resources) -> int:
        """A group could not start. Returns how many in a row."""
        self._failed_starts[resources] = self._failed_starts.get(resources, 0) + 1
        return self._failed_starts[resources]

    def note_unplaced(self, resources: Resources, now: float) -> bool:
        """No machine had room for a group. Returns whether that has been so for too long, and no such group works."""
        since = self._unplaced_since.setdefault(resources, now)
        is_served = any(g.resources == resources and g.state != "starting" for g in self._groups.values())
        return now - since > PLACED_WITHIN_S and not is_served
