"""The dispatcher without Ray: who gets which stage, when groups start and end, and what a loss costs."""

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from study.cluster import dispatcher
from study.cluster.desk import Assignment
from study.cluster.dispatcher import Dispatcher
from study.cluster.execution import Execution, Resources
from study.records.records import Records
from study.stages.graph import StageGraph
from study.stages.progress import LOST
from study.stages.stage import Stage, StageResult
from study.store.attempt import begin_attempt
from study.store.claims import Claims
from study.store.store import Store
from tests.study.cluster.toy_kinds import fails, toy
from tests.study.cluster.watched import Flat, Watched

ONE, TWO = Resources(), Resources(num_workers=2)


class Cluster:
    """Groups that do what the test says, on a cluster of `num_cpus`."""

    def __init__(
        self,
        storage: Path,
        stages: Iterable[Stage],
        *,
        num_cpus: int = 2,
        holds: bool = True,
        feed: Any = None,
        command: str = "this",
        **places: Any,
    ) -> None:
        self.now, self.num_cpus, self.told, self.killed = 0.0, num_cpus, {}, []
        self.store, self.progress = Store(storage), Watched()
        self.claims = Claims(self.store, command, clock=lambda: self.now)
        self.dispatcher = Dispatcher(
            graph=StageGraph(stages),
            store=self.store,
            execution=Execution(storage=str(storage), **places),
            progress=self.progress,
            facts={"command": command},
            limit=lambda: {"CPU": float(self.num_cpus), "GPU": 0.0},
            holds=lambda resources: holds,
            expected=Flat(),
            claims=self.claims,
            feed=feed,
            clock=lambda: self.now,
        )
        self.dispatcher.answer, self.dispatcher.kill = self._answer, self.killed.append
        self._num_questions = 0

    def _answer(self, question: str, assignment: Assignment) -> None:
        self.told[question.split(":", maxsplit=1)[0]] = "end" if assignment.stage is None else assignment.label

    def start(self) -> list[str]:
        """Starts all groups that are wanted; returns their names."""
        names = []
        while (resources := self.dispatcher.wanted_group()) is not None:
            names.append(f"group{self._num_questions}-{len(names)}")
            self.dispatcher.start_group(names[-1], resources)
        return names

    def ask(self, group: str, outcome: dict[str, Any] | None = None) -> str | None:
        """What the group is told; None while it has to wait."""
        self._num_questions += 1
        self.told.pop(group, None)
        self.dispatcher.ask(group, f"{group}:{self._num_questions}", outcome)
        self.dispatcher.assign()
        return self.told.get(group)

    def finish(self, group: str, stage: Stage) -> str | None:
        """The group's stage ends well, and it asks for the next."""
        begin_attempt(self.store, stage).finish(StageResult())
        return self.ask(group, {"state": "done"})


def test_as_many_groups_start_as_have_work_and_fit(tmp_path):
    a = toy("a")
    assert len(Cluster(tmp_path, [a, toy("b"), toy("c")]).start()) == 2
    assert len(Cluster(tmp_path, [toy("child", a)], num_cpus=8).start()) == 1


def test_a_free_group_gets_the_stage_with_the_longest_way_and_waits_while_none_is_ready(tmp_path):
    root, short = toy("root"), toy("short")
    leaf, other = toy("leaf", root), toy("other", root)
    cluster = Cluster(tmp_path, [short, leaf, other])
    first, second = cluster.start()

    assert (cluster.ask(first), cluster.ask(second)) == ("root", "short")
    assert cluster.finish(second, short) is None
    assert cluster.finish(first, root) == "leaf" and cluster.told[second] == "other"
    assert cluster.finish(first, leaf) == "end"
    assert not cluster.dispatcher.finished
    assert cluster.finish(second, other) == "end" and cluster.dispatcher.finished


def test_a_question_that_is_repeated_gets_the_same_answer(tmp_path):
    cluster = Cluster(tmp_path, [toy("a"), toy("b")], num_cpus=1)
    (group,) = cluster.start()
    told: list[str] = []
    cluster.dispatcher.answer = lambda question, assignment: told.append(assignment.label)
    for _ in range(2):
        cluster.dispatcher.ask(group, "question", None)
        cluster.dispatcher.assign()

    assert told == ["a", "a"]


def test_only_the_workers_need_to_import_a_stage(tmp_path):
    cluster = Cluster(tmp_path, [toy("a")])
    (group,) = cluster.start()
    found: list[Assignment] = []
    cluster.dispatcher.answer = lambda question, assignment: found.append(assignment)
    cluster.dispatcher.ask(group, "question", None)
    cluster.dispatcher.assign()

    assert isinstance(found[0].stage, bytes) and pickle.loads(found[0].stage) == (toy("a"), None)


@pytest.mark.parametrize("stated", [True, False], ids=["failed", "lost"])
def test_a_failure_is_final_and_a_loss_is_not(tmp_path, stated):
    bad = toy("bad", run=fails)
    cluster = Cluster(tmp_path, [toy("child", bad)])
    (group,) = cluster.start()
    cluster.ask(group)
    if stated:
        cluster.dispatcher.fail(group, bad.identity, {"state": "failed", "error": "ValueError: no"})
    cluster.dispatcher.end_group(group, "worker died")

    if stated:
        assert cluster.progress.states() == {"bad": "failed", "child": "skipped"}
        assert cluster.progress.error("child") == "its parent failed: bad"
        assert cluster.dispatcher.finished
    else:
        (another,) = cluster.start()
        assert cluster.ask(another) == "bad"


def test_a_stage_that_loses_every_group_fails_at_the_fourth_and_is_recorded(tmp_path):
    cluster = Cluster(tmp_path, [toy("deadly"), toy("other")], num_cpus=1)
    order = []
    while not cluster.dispatcher.finished:
        (group,) = cluster.start()
        order.append(cluster.ask(group))
        if order[-1] == "deadly":
            cluster.dispatcher.end_group(group, "worker died")
        else:
            assert cluster.finish(group, toy("other")) == "end"

    assert order == ["deadly"] * 4 + ["other"]
    rows = Records(cluster.store).read("stages", every_attempt=True).to_pylist()
    (row,) = [row for row in rows if row["state"] == "failed"]
    assert row["error"].startswith(f"{LOST} 4 times without progress, the last time: worker died")
    assert dict(row["facts"])["command"] == "this"


def test_a_stage_that_goes_on_each_time_may_be_lost_any_number_of_times(tmp_path):
    cluster = Cluster(tmp_path, [toy("a")])
    for number in range(20):
        (group,) = cluster.start()
        assert cluster.ask(group) == "a"
        if number % 3 == 0:
            begin_attempt(cluster.store, toy("a")).save_state(b"further")
        cluster.dispatcher.end_group(group, "worker died")
    assert cluster.progress.states() == {"a": "waiting"}


def test_new_workers_of_a_group_count_as_a_loss(tmp_path):
    cluster = Cluster(tmp_path, [toy("a")])
    (group,) = cluster.start()
    assert cluster.ask(group) == "a"
    assert cluster.ask(group) == "a"
    assert cluster.progress.stages[toy("a").identity].num_losses == 1


def test_a_group_lost_after_its_stage_was_done_costs_nothing(tmp_path):
    cluster = Cluster(tmp_path, [toy("a")])
    (group,) = cluster.start()
    cluster.ask(group)
    begin_attempt(cluster.store, toy("a")).finish(StageResult())
    cluster.dispatcher.end_group(group, "worker died")

    assert cluster.progress.states() == {"a": "done"} and cluster.dispatcher.finished


def test_groups_that_cannot_start_are_given_up_with_the_cause(tmp_path):
    cluster = Cluster(tmp_path, [toy("child", toy("a")), toy("b")], num_cpus=1)
    for _ in range(4):
        (group,) = cluster.start()
        cluster.dispatcher.end_group(group, "ImportError: no torch")

    assert cluster.progress.states() == {"a": "failed", "child": "skipped", "b": "failed"}
    assert cluster.progress.error("b") == "no group of workers can start: ImportError: no torch"
    assert cluster.dispatcher.finished


@pytest.mark.parametrize("holds", [False, True], ids=["no machine", "busy machines"])
def test_a_machine_that_never_comes_is_given_up_and_a_busy_one_is_waited_for(tmp_path, holds):
    cluster = Cluster(tmp_path, [toy("a")], holds=holds)
    for _ in range(20):
        for group in cluster.start():
            cluster.now += 60.0
            cluster.dispatcher.end_group(group, "no room", unplaced=True)

    assert cluster.progress.states() == {"a": "waiting" if holds else "failed"}
    if not holds:
        assert "no machine could hold 1 worker(s) x 1 CPU within 900 s" in cluster.progress.error("a")


def test_idle_groups_give_their_machine_back(tmp_path):
    root = toy("root")
    cluster = Cluster(tmp_path, [toy("one", root), toy("two", root), toy("short")])
    first, second = cluster.start()
    assert (cluster.ask(first), cluster.ask(second)) == ("root", "short")
    assert cluster.finish(second, toy("short")) is None
    cluster.now += dispatcher.IDLE_S + 1
    cluster.dispatcher.tick()
    cluster.dispatcher.assign()
    assert cluster.told[second] == "end"
    cluster.dispatcher.end_group(second, "")

    cluster.finish(first, root)
    assert len(cluster.start()) == 1


def test_a_hanging_group_is_killed_once(tmp_path):
    cluster = Cluster(tmp_path, [toy("a")], hung_after_s=100.0)
    (group,) = cluster.start()
    cluster.ask(group)
    cluster.now = 90.0
    cluster.dispatcher.report(group, toy("a").identity, {"step": 1})
    for cluster.now in (150.0, 195.0, 200.0):
        cluster.dispatcher.tick()
        cluster.dispatcher.assign()

    assert cluster.killed == [group]


def test_groups_of_another_kind_get_room(tmp_path):
    wide = toy("wide", toy("narrow", toy("first")), run=fails)
    cluster = Cluster(tmp_path, [toy("behind", wide), *(toy(f"short{i}") for i in range(4))], resources={"fails": TWO})
    first, second = cluster.start()
    assert (cluster.ask(first), cluster.ask(second)) == ("first", "short0")
    cluster.finish(first, toy("first"))
    assert cluster.told[first] == "narrow"
    assert cluster.finish(second, toy("short0")) == "short1"
    assert cluster.finish(first, toy("narrow", toy("first"))) == "end"
    cluster.dispatcher.end_group(first, "")
    assert cluster.start() == []
    assert cluster.finish(second, toy("short1")) == "end"
    cluster.dispatcher.end_group(second, "")
    (large,) = cluster.start()
    assert cluster.ask(large) == "wide"


def test_the_notice_says_what_groups_wait_for(tmp_path):
    cluster = Cluster(tmp_path, [toy("a"), toy("b")], num_cpus=4, default_resources=Resources(cpus_per_worker=3))
    assert len(cluster.start()) == 1  # four CPUs hold one group of three
    cluster.dispatcher.note_shortage({"CPU": 2.0, "GPU": 0.0})
    assert cluster.progress.notice == "waiting for machines: 3 CPU asked for, 2 there"
    cluster.dispatcher.note_shortage({"CPU": 4.0, "GPU": 0.0})
    assert cluster.progress.notice == ""


def test_a_feed_is_asked_after_each_end(tmp_path):
    class Feed:
        given = 0

        def more(self) -> Sequence[Stage]:
            all_done = all(Store(tmp_path).done(toy(str(number + 1)).identity) for number in range(self.given))
            if not all_done or self.given == 3:
                return []
            self.given += 1
            return [toy(str(self.given))]

        def rule_of(self, identity: str) -> None:
            return None

    cluster = Cluster(tmp_path, [], feed=Feed())
    (group,) = cluster.start()
    assert cluster.ask(group) == "1"
    assert [cluster.finish(group, toy(str(number))) for number in (1, 2)] == ["2", "3"]
    assert cluster.finish(group, toy("3")) == "end" and cluster.dispatcher.finished


def test_stages_are_added_while_it_runs(tmp_path):
    bad = toy("bad", run=fails)
    cluster = Cluster(tmp_path, [toy("first"), bad], num_cpus=1)
    (group,) = cluster.start()
    assert cluster.ask(group) == "first"
    assert cluster.finish(group, toy("first")) == "bad"
    cluster.dispatcher.add([toy("second", toy("first"))])
    assert cluster.ask(group, {"state": "failed", "error": "ValueError: no"}) == "second"
    cluster.dispatcher.add([toy("too late", bad)])
    assert cluster.finish(group, toy("second", toy("first"))) == "end"
    assert cluster.progress.states() == {"first": "done", "bad": "failed", "second": "done", "too late": "skipped"}


def test_what_is_done_counts_and_what_cannot_be_seen_fails(tmp_path):
    begin_attempt(Store(tmp_path), toy("a")).finish(StageResult())
    cluster = Cluster(tmp_path, [toy("child", toy("a"))])
    (group,) = cluster.start()
    assert cluster.ask(group) == "child"
    assert cluster.ask(group, {"state": "done"}) == "end"
    assert "not seen in" in cluster.progress.error("child")


def test_what_another_command_trains_is_waited_for_and_taken_over_if_it_gives_up(tmp_path):
    root = toy("root")
    child, other = toy("child", root), toy("other")
    first, second = (Cluster(tmp_path, [child, other], num_cpus=1, command=name) for name in ("first", "second"))
    (one,), (two,) = first.start(), second.start()
    assert first.ask(one) == "root"
    assert second.ask(two) == "other"
    assert "(command first)" in second.progress.stages[root.identity].holder
    assert second.progress.states() == {"root": "elsewhere", "child": "waiting", "other": "running"}
    assert second.finish(two, other) is None and not second.dispatcher.finished

    assert first.finish(one, root) == "child"
    second.now += dispatcher.LOOK_EVERY_S + 1
    second.dispatcher.tick()
    second.dispatcher.assign()  # it finds the result, and that the child is being trained
    assert second.progress.states() == {"root": "done", "child": "elsewhere", "other": "done"}
    assert second.progress.stages[root.identity].cached
    assert first.progress.states()["other"] == "waiting"

    first.claims.release(child.identity)  # as its end would
    second.now += dispatcher.LOOK_EVERY_S + 1
    second.dispatcher.tick()
    second.dispatcher.assign()
    second.dispatcher.end_group(two, "")
    assert second.told[two] == "end"  # it had nothing to wait for but what others train
    (three,) = second.start()
    assert second.ask(three) == "child"


def test_what_another_command_did_first_is_not_done_again(tmp_path):
    first, second = (Cluster(tmp_path, [toy("a"), toy("b")], num_cpus=1, command=name) for name in ("x", "y"))
    (one,), (two,) = first.start(), second.start()
    assert first.ask(one) == "a"
    assert first.finish(one, toy("a")) == "b"
    assert second.ask(two) == "end" and not second.dispatcher.finished
    assert second.progress.states() == {"a": "done", "b": "elsewhere"}


def test_it_learns_only_from_stages_that_were_trained_at_one_go(tmp_path, monkeypatch):
    learnt: list[tuple[str, float]] = []
    monkeypatch.setattr(Flat, "learn", lambda self, stage, seconds: bool(learnt.append((stage.label, seconds))))
    cluster = Cluster(tmp_path, [toy("a"), toy("b"), toy("c")], num_cpus=1)
    (group,) = cluster.start()
    cluster.ask(group)
    for name, outcome in (("a", {"is_whole": True}), ("b", {"is_whole": False}), ("c", {})):
        cluster.now += 7
        begin_attempt(cluster.store, toy(name)).finish(StageResult())
        cluster.ask(group, {"state": "done", **outcome})

    assert learnt == [("a", 7.0)]


def test_the_time_left_is_the_work_over_the_slots_or_the_longest_chain(tmp_path):
    chain = toy("third", toy("second", toy("first")))
    cluster = Cluster(tmp_path, [chain, *(toy(f"short{number}") for number in range(5))])
    assert cluster.progress.seconds_left() == 4.0  # eight stages of a second on two slots
    first, _ = cluster.start()
    assert cluster.ask(first) == "first"
    cluster.now += 0.5
    assert cluster.progress.seconds_left() == 3.75
    cluster.num_cpus = 8
    cluster.dispatcher.tick()
    assert cluster.progress.seconds_left() == 2.5
