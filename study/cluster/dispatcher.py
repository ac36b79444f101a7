"""The dispatcher: gives the next stage to each group of workers that asks, and takes note of what became of it.

A group is a slot: processes that stay, and run one stage after another. Whenever a group is free it gets the ready
stage with the longest way to go; while none is ready it waits, and it ends when no stage is left that it could run,
when another kind of group needs its room, or when it has been idle for a while. A stage whose group was lost goes on
in another group.

It knows nothing of Ray. One lock guards all of it: groups speak to it from one thread, Ray Tune from another.
"""

import logging
import pickle
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from study.cluster.desk import Assignment
from study.cluster.execution import Execution, Resources
from study.cluster.expected_seconds import Expected
from study.cluster.forecast import seconds_left
from study.cluster.groups import PLACED_WITHIN_S, Group, Groups
from study.cluster.stage_queue import StageQueue
from study.records.records import Records
from study.records.stage_log import log_path
from study.stages.graph import StageGraph
from study.stages.progress import LOST, Progress
from study.stages.stage import Stage, StoppingRule
from study.store.claims import Claims
from study.store.storage import concurrently
from study.store.store import Store

# So often a stage may be lost without progress, and so many groups in a row may fail to start.
TRIES = 4
IDLE_S = 30.0  # so long a group may keep its machine without a stage
LOOK_EVERY_S = 3.0  # how often to look for the results of other commands
_log = logging.getLogger(__name__)

Resource = Mapping[str, float]


class Feed(Protocol):
    """Supplies stages that depend on the results of others, as a search does."""

    def more(self) -> Sequence[Stage]:
        """New stages; none while it waits for those that it gave before, and none at the end."""
        ...

    def rule_of(self, identity: str) -> StoppingRule | None:
        """When to stop one of its stages early."""
        ...


class Dispatcher:
    """Decides which group runs which stage.

    `limit` gives the CPUs and GPUs that the cluster can have, `holds` says whether its machines could hold a group.
    Whoever connects it sets `answer`, which is called with a question and its answer, and `kill`, which is called with
    the name of a group that hangs.
    """

    answer: Callable[[str, Assignment], None]
    kill: Callable[[str], None]

    def __init__(
        self,
        *,
        graph: StageGraph,
        store: Store,
        execution: Execution,
        progress: Progress,
        facts: Mapping[str, str],
        limit: Callable[[], Resource],
        holds: Callable[[Resources], bool],
        expected: Expected,
        claims: Claims,
        feed: Feed | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._graph, self._store, self._execution, self._progress = graph, store, execution, progress
        self._facts = facts
        self._limit_now, self._groups = limit, Groups(limit())
        self._holds, self._feed, self._clock = holds, feed, clock
        self._queue = StageQueue(lambda stage: execution.resources_of(stage.kind.name), expected)
        self._expected, self._claims = expected, claims
        self._elsewhere: dict[str, Stage] = {}
        self._looked_at = clock()
        self._num_open = 0  # stages that have not ended
        # The newest loop state when a stage was last lost, and how often it was lost with that.
        self._in_vain: dict[str, tuple[str | None, int]] = {}
        self._lock = threading.RLock()
        progress.forecast = self.seconds_left
        self._enter(list(graph))

    def add(self, stages: Iterable[Stage]) -> None:
        """Adds stages; those that need a stage that has failed under this command are skipped."""
        with self._lock:
            self._enter(self._graph.add(stages))

    def wanted_group(self) -> Resources | None:
        """What a further group should have, for a stage that is ready and that no group will take; None if nothing."""
        with self._lock:
            # The one with the longest way goes first, even if it must wait for room.
            first = next(iter(self._unserved()), None)
            return first if first is not None and self._groups.has_room(first) else None

    @property
    def finished(self) -> bool:
        """Whether all stages have ended and the feed has no more."""
        with self._lock:
            return self._num_open == 0

    @property
    def only_starting(self) -> bool:
        """Whether there is no group that has asked for anything."""
        with self._lock:
            return self._groups.only_starting()

    def start_group(self, group: str, resources: Resources) -> None:
        """A group is about to start."""
        with self._lock:
            self._groups.add(group, resources, self._clock())

    def ask(self, group: str, question: str, outcome: Mapping[str, Any] | None) -> None:
        """A group asks for its next stage, and says what became of the last one. The same question may come again."""
        with self._lock:
            known = self._groups.get(group)
            if known is None or known.state == "ending":
                self.answer(question, Assignment())
            elif known.question == question and known.answer is not None:
                self.answer(question, known.answer)
            else:
                if known.stage is not None and outcome is None:
                    self._lose(known, "a worker died")  # these are new workers of the same group
                else:
                    self._end_stage(known, outcome)
                known.state, known.question, known.answer, known.since = "idle", question, None, self._clock()
                self._groups.note_start(known.resources)

    def report(self, group: str, identity: str, latest: dict[str, Any]) -> None:
        """A sign of life of a group's stage, with its progress."""
        with self._lock:
            known = self._groups.get(group)
            if known is not None and known.stage is not None and known.stage.identity == identity:
                known.alive_at = self._clock()
                self._progress.report(identity, latest)

    def fail(self, group: str, identity: str, outcome: Mapping[str, Any]) -> None:
        """A group's stage has failed, and its processes end with it."""
        with self._lock:
            known = self._groups.get(group)
            if known is not None and known.stage is not None and known.stage.identity == identity:
                self._end_stage(known, outcome)

    def end_group(self, group: str, cause: str, *, unplaced: bool = False) -> None:
        """A group has ended. What it was at waits for another. `unplaced`: no machine was free for it."""
        with self._lock:
            known = self._groups.remove(group)
            if known is None:
                return
            if known.stage is not None:
                self._lose(known, cause)
            elif known.state == "starting" and not unplaced:
                if self._groups.note_failed_start(known.resources) >= TRIES:
                    self._give_up(known.resources, f"no group of workers can start: {cause}")
            elif known.state == "starting":
                too_long = self._groups.note_unplaced(known.resources, self._clock())
                if too_long and not self._holds(known.resources):
                    error = f"no machine could hold {known.resources} within {PLACED_WITHIN_S:g} s"
                    self._give_up(known.resources, error)

    def assign(self) -> None:
        """Gives ready stages to idle groups, and ends groups that no stage needs."""
        with self._lock:
            while candidates := self._candidates():
                stages = [stage for _, stage in candidates]
                # On an object store each claim takes a second.
                holders = concurrently(self._claims.take, [stage.identity for stage in stages])
                for (group, stage), holder in zip(candidates, holders, strict=True):
                    if holder is not None:
                        self._elsewhere[stage.identity] = stage
                        self._progress.leave(stage.identity, holder)
                    elif self._store.done(stage.identity) is not None:
                        self._settle(stage, "done", found=True)
                    else:
                        self._give(group, stage)
            for group in self._groups.in_state("idle"):
                num_idle = len(self._groups.in_state("idle", group.resources))
                if num_idle > self._queue.num_waiting(group.resources) or self._stands_in_the_way(group):
                    self._dismiss(group)

    def tick(self) -> None:
        """What time alone brings about: machines come and go, idle groups end, groups that hang are killed."""
        with self._lock:
            now, self._groups.limit = self._clock(), self._limit_now()
            for name, group in self._groups.items():
                if group.state == "idle" and now - group.since > IDLE_S:
                    self._dismiss(group)
                elif group.state == "working" and now - group.alive_at > self._execution.hung_after_s:
                    group.alive_at = now
                    _log.warning("killed %s: %s showed no sign of life", name, group.stage)
                    self.kill(name)
            if self._elsewhere and now - self._looked_at > LOOK_EVERY_S:
                self._look_elsewhere()
                self._looked_at = self._clock()

    def note_shortage(self, present: Resource) -> None:
        """Sets the progress's notice while groups wait for machines that are not there yet."""
        with self._lock:
            self._progress.notice = self._groups.shortage(present)

    def seconds_left(self) -> float | None:
        """Seconds until the end, if no slot is ever idle; None while most of that would be guessed."""
        with self._lock:
            now = self._clock()
            running = [(stage, now - since) for stage, since in self._groups.at_work()]
            return seconds_left(
                [*((stage, 0.0) for stage in self._queue.waiting()), *running],
                way_of=self._queue.way_of,
                expected=self._expected,
                execution=self._execution,
                limit=self._groups.limit,
            )

    def _enter(self, new: list[Stage]) -> None:
        """Puts new stages into the queue, and then those that the feed adds."""
        while True:
            done = self._store.done_identities(stage.identity for stage in new)
            self._progress.add(new, done)
            self._queue.add(new, done)
            self._num_open += len(new) - len(done)
            for stage in new:
                if stage.identity not in done:
                    for parent in stage.parents.values():
                        self._skip_if_hopeless(stage, parent)
            if self._feed is None or not (more := self._feed.more()):
                return
            new = self._graph.add(more)

    def _candidates(self) -> list[tuple[Group, Stage]]:
        """Idle groups with the stages that they would run; groups that stand in the way of others are ended."""
        found = []
        for group in self._groups.in_state("idle"):
            if self._stands_in_the_way(group):
                self._dismiss(group)
            elif (stage := self._queue.take(group.resources)) is not None:
                found.append((group, stage))
        return found

    def _look_elsewhere(self) -> None:
        """Takes note of what other commands have done, and takes over what they have given up."""
        for identity, stage in list(self._elsewhere.items()):
            is_done = self._store.done(identity) is not None
            if is_done or self._claims.holder(identity) is None:
                del self._elsewhere[identity]
            if is_done:
                self._settle(stage, "done", found=True)
            elif identity not in self._elsewhere:
                self._progress.take_back(identity)
                self._queue.put_back(stage)

    def _stands_in_the_way(self, group: Group) -> bool:
        """Whether a stage that needs another kind of group, and has a longer way than any for this one, lacks room."""
        own = self._queue.way(group.resources) or 0.0
        others = [other for other in self._unserved() if other != group.resources]
        longer = [other for other in others if (self._queue.way(other) or 0.0) > own]
        return any(not self._groups.has_room(other, when_ended=True) for other in longer)

    def _unserved(self) -> list[Resources]:
        """What stages take that are ready, and for which no group is about to start; the longest way first."""
        shapes: Any = self._queue.shapes()
        starting = {shape: len(self._groups.in_state("starting", shape)) for shape in shapes}
        return [shape for shape in shapes if self._queue.num_ready(shape) > starting[shape]]

    def _give(self, group: Group, stage: Stage) -> None:
        rule = self._feed.rule_of(stage.identity) if self._feed else None
        group.answer = Assignment(identity=stage.identity, label=stage.label, stage=pickle.dumps((stage, rule)))
        group.state, group.stage, group.since = "working", stage, self._clock()
        group.alive_at = group.since
        self._progress.start(stage.identity)
        self.answer(group.question, group.answer)

    def _dismiss(self, group: Group) -> None:
        group.state = "ending"
        self.answer(group.question, Assignment())

    def _end_stage(self, group: Group, outcome: Mapping[str, Any] | None) -> None:
        stage, group.stage = group.stage, None
        if stage is None or outcome is None:
            return
        if outcome["state"] == "done" and self._store.done(stage.identity) is None:
            place = self._execution.storage
            outcome = {"state": "failed", "error": f"done, but not seen in {place} from here: is it shared?"}
        if outcome.get("is_whole") and self._expected.learn(stage, self._clock() - group.since):
            self._queue.estimate_again()
        if not outcome.get("is_recorded", True):
            self._fail(stage, outcome["error"])
        else:
            self._settle(stage, outcome["state"], outcome.get("error", ""))

    def _settle(self, stage: Stage, state: Any, error: str = "", *, found: bool = False) -> None:
        """The end of a stage, and what it makes possible or impossible. `found`: another command has done it."""
        self._num_open -= 1
        self._claims.release(stage.identity)
        if state == "done":
            self._queue.end(stage.identity)
        else:
            self._queue.drop(stage.identity)
        if found:
            self._progress.found_done(stage.identity)
        else:
            self._progress.end(stage.identity, state, error)
        for descendant in self._queue.descendants(stage.identity) if state != "done" else ():
            self._skip_if_hopeless(descendant, stage)
        if self._feed is not None:
            self._enter([])

    def _skip_if_hopeless(self, stage: Stage, ancestor: Stage) -> None:
        """Skips a stage that waits for the result of one which will have none."""
        causes = {"failed": "failed", "skipped": "was skipped", "pruned": "was stopped early"}
        cause = causes.get(self._progress.stages[ancestor.identity].state)
        if cause and self._progress.stages[stage.identity].state == "waiting":
            self._num_open -= 1
            self._queue.drop(stage.identity)
            self._progress.end(stage.identity, "skipped", f"its parent {cause}: {ancestor.label}")

    def _lose(self, group: Group, cause: str) -> None:
        """A stage whose group is gone waits again, unless it had ended or this has happened too often."""
        stage, group.stage = group.stage, None
        assert stage is not None
        if self._store.done(stage.identity) is not None:
            self._settle(stage, "done")
            return
        self._progress.lose(stage.identity, cause)
        num_in_vain = self._count_in_vain(stage)
        if num_in_vain < TRIES:
            self._queue.put_back(stage)
            return
        error = f"{LOST} {num_in_vain} times without progress, the last time: {cause}; see {log_path(stage)}"
        self._fail(stage, error)

    def _count_in_vain(self, stage: Stage) -> int:
        """How often a stage was lost since it last saved a loop state: machines may be taken away again and again."""
        state, (known, number) = self._store.newest_state(stage.identity), self._in_vain.get(stage.identity, (None, 0))
        number = number + 1 if state == known else 1
        self._in_vain[stage.identity] = (state, number)
        return number

    def _fail(self, stage: Stage, error: str) -> None:
        Records(self._store).write_failure(stage, error, self._facts)
        self._settle(stage, "failed", error)

    def _give_up(self, resources: Resources, error: str) -> None:
        self._groups.note_start(resources)
        for stage in self._queue.ready(resources):
            self._fail(stage, error)
