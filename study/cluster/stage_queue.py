"""The queue of stages: which are ready, and which of these has the longest way to go."""

import heapq
from collections.abc import Callable, Collection, Hashable, Iterable

from study.stages.stage import Stage


class StageQueue:
    """Stages that wait, each with its way: its expected seconds and those of the longest chain of its descendants.

    A stage is ready when all its parents are done. Of the ready stages of one shape (what they take of the cluster),
    the one with the longest way comes first, and of equal ones the one that was added first. All that happens to a
    stage takes a time that does not grow with the number of stages, except for a logarithm.
    """

    def __init__(self, shape_of: Callable[[Stage], Hashable], seconds_of: Callable[[Stage], float]) -> None:
        self._shape_of, self._seconds_of = shape_of, seconds_of
        self._stages: dict[str, Stage] = {}  # all that were ever added, parents first
        self._numbers: dict[str, int] = {}
        self._children: dict[str, list[str]] = {}
        self._num_missing: dict[str, int] = {}  # parents that are not done
        self._ways: dict[str, float] = {}
        self._waiting: dict[Hashable, set[str]] = {}
        self._ready: dict[Hashable, set[str]] = {}
        # By shape: (-way, number, identity). An entry whose way has changed, or which is not ready, is passed over.
        self._heaps: dict[Hashable, list[tuple[float, int, str]]] = {}

    def add(self, stages: Iterable[Stage], done: Collection[str]) -> None:
        """Adds stages, parents first; those of `done` need not run."""
        new = [stage for stage in stages if stage.identity not in self._stages]
        for stage in new:
            identity = stage.identity
            parents = {parent.identity for parent in stage.parents.values()}
            self._stages[identity], self._numbers[identity] = stage, len(self._numbers)
            self._children[identity] = []
            for parent in parents:
                self._children[parent].append(identity)
            self._num_missing[identity] = sum(self._num_missing[parent] >= 0 for parent in parents)
            if identity in done:
                self._num_missing[identity] = -1
            else:
                self._waiting.setdefault(self._shape_of(stage), set()).add(identity)
                self._ready.setdefault(self._shape_of(stage), set())
        for stage in reversed(new):
            self._set_way(stage)
        for stage in new:
            if self._num_missing[stage.identity] == 0:
                self._make_ready(stage.identity)

    def estimate_again(self) -> None:
        """Computes all ways anew, because expected seconds have changed."""
        for identity in reversed(self._stages):
            self._ways[identity] = self._way(identity)
        self._heaps = {}
        for identities in self._ready.values():
            for identity in identities:
                self._push(identity)

    def take(self, shape: Hashable) -> Stage | None:
        """The first ready stage of a shape, which then waits no longer; None if there is none."""
        first = self._first(shape)
        if first is None:
            return None
        heapq.heappop(self._heaps[shape])
        self.drop(first)
        return self._stages[first]

    def put_back(self, stage: Stage) -> None:
        """Makes a stage that was taken wait again."""
        self._waiting[self._shape_of(stage)].add(stage.identity)
        self._make_ready(stage.identity)

    def end(self, identity: str) -> None:
        """A stage is done: children of which this was the last missing parent become ready."""
        if self._num_missing[identity] < 0:
            return
        self.drop(identity)
        self._num_missing[identity] = -1
        for child in self._children[identity]:
            if self._num_missing[child] > 0:
                self._num_missing[child] -= 1
                if self._num_missing[child] == 0 and child in self._waiting[self._shape_of(self._stages[child])]:
                    self._make_ready(child)

    def drop(self, identity: str) -> None:
        """A stage will not run."""
        shape = self._shape_of(self._stages[identity])
        for of_shape in (self._ready, self._waiting):
            of_shape.get(shape, set()).discard(identity)

    def descendants(self, identity: str) -> list[Stage]:
        """All stages that need this one, directly or not, each once."""
        found: dict[str, None] = {}
        left = [identity]
        while left:
            for child in self._children[left.pop()]:
                if child not in found:
                    found[child] = None
                    left.append(child)
        return [self._stages[other] for other in sorted(found, key=self._numbers.__getitem__)]

    def way(self, shape: Hashable) -> float | None:
        """The way of the first ready stage of a shape [s]; None if there is none."""
        first = self._first(shape)
        return None if first is None else self._ways[first]

    def way_of(self, identity: str) -> float:
        """The way of any stage [s]."""
        return self._ways[identity]

    def waiting(self) -> list[Stage]:
        """All stages that have not been taken."""
        return [self._stages[identity] for identities in self._waiting.values() for identity in identities]

    def shapes(self) -> list[Hashable]:
        """Shapes of which stages are ready, the longest way first."""
        ways = {shape: way for shape in self._ready if (way := self.way(shape)) is not None}
        return sorted(ways, key=lambda shape: -ways[shape])

    def ready(self, shape: Hashable) -> list[Stage]:
        """The ready stages of a shape, in the order in which they were added."""
        return [self._stages[i] for i in sorted(self._ready.get(shape, ()), key=self._numbers.__getitem__)]

    def num_ready(self, shape: Hashable) -> int:
        return len(self._ready.get(shape, ()))

    def num_waiting(self, shape: Hashable) -> int:
        """How many stages of a shape have not been taken, ready or not."""
        return len(self._waiting.get(shape, ()))

    def _make_ready(self, identity: str) -> None:
        self._ready[self._shape_of(self._stages[identity])].add(identity)
        self._push(identity)

    def _push(self, identity: str) -> None:
        shape = self._shape_of(self._stages[identity])
        heapq.heappush(self._heaps.setdefault(shape, []), (-self._ways[identity], self._numbers[identity], identity))

    def _first(self, shape: Hashable) -> str | None:
        heap = self._heaps.get(shape, [])
        while heap:
            way, _, identity = heap[0]
            if identity in self._ready[shape] and -way == self._ways[identity]:
                return identity
            heapq.heappop(heap)
        return None

    def _way(self, identity: str) -> float:
        children = self._children[identity]
        return self._seconds_of(self._stages[identity]) + max((self._ways[child] for child in children), default=0.0)

    def _set_way(self, stage: Stage) -> None:
        """Sets the way of a new stage, and lengthens those of older ancestors that it makes longer."""
        self._ways[stage.identity] = self._way(stage.identity)
        left = [stage]
        while left:
            lower = left.pop()
            for parent in lower.parents.values():
                known = self._ways.get(parent.identity)
                way = self._seconds_of(self._stages[parent.identity]) + self._ways[lower.identity]
                if known is not None and way > known:
                    self._ways[parent.identity] = way
                    if parent.identity in self._ready.get(self._shape_of(parent), ()):
                        self._push(parent.identity)
                    left.append(parent)
