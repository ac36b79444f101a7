"""The queue of stages: order, readiness, growth, changed estimates; and that it asks for little."""

import random
from collections.abc import Iterable

from study.cluster.stage_queue import StageQueue
from study.stages.graph import StageGraph
from study.stages.stage import Stage, StageKind
from tests.study.toy_stages import toy_run, toy_stage

SMALL, LARGE = (StageKind(name=name, version=1, run=toy_run) for name in ("small", "large"))


def stage(number: int, *parents: Stage, kind: StageKind = SMALL) -> Stage:
    return toy_stage(kind, seed=number, label=str(number), parents={str(p.identity): p for p in parents})


def queue(seconds: dict[str, float], stages: Iterable[Stage], done: Iterable[Stage] = ()) -> StageQueue:
    found = StageQueue(lambda stage: stage.kind.name, lambda stage: seconds.get(stage.label, 1.0))
    found.add(StageGraph(stages), {stage.identity for stage in done})
    return found


def taken(found: StageQueue, shape: str = "small") -> str | None:
    stage = found.take(shape)
    return stage.label if stage else None


def test_the_longest_way_comes_first_and_children_wait_for_all_parents():
    a, b, c = stage(1), stage(2), stage(3)
    both, tail = stage(4, a, b), stage(5, c)
    found = queue({"1": 1, "2": 5, "3": 3, "4": 1, "5": 10}, [both, tail])

    assert [taken(found) for _ in range(4)] == ["3", "2", "1", None]
    found.end(a.identity)
    assert taken(found) is None
    found.end(b.identity)
    assert taken(found) == "4"
    found.end(c.identity)
    found.put_back(both)  # it was lost
    assert [taken(found) for _ in range(3)] == ["5", "4", None]


def test_of_equal_ways_the_first_one_comes_first_and_shapes_stay_apart():
    found = queue({}, [stage(1), stage(2, kind=LARGE), stage(3)])

    assert set(found.shapes()) == {"small", "large"}
    assert [taken(found), taken(found), taken(found)] == ["1", "3", None]
    assert taken(found, "large") == "2" and taken(found, "unknown") is None


def test_what_is_done_or_dropped_is_not_handed_out():
    a = stage(1)
    b, c = stage(2, a), stage(3)
    found = queue({}, [b, c], done=[a])
    found.drop(c.identity)

    assert (found.num_ready("small"), found.num_waiting("small")) == (1, 1)
    assert [taken(found), taken(found)] == ["2", None]
    assert found.descendants(a.identity) == [b]


def test_a_new_descendant_lengthens_the_ways_of_its_ancestors():
    a, b = stage(1), stage(2)
    found = queue({"1": 1, "2": 3, "3": 9}, [a, b])
    found.add([stage(3, a)], set())

    assert found.way("small") == 10
    assert [taken(found), taken(found)] == ["1", "2"]


def test_new_estimates_change_the_order():
    seconds = {"1": 1.0, "2": 2.0}
    found = queue(seconds, [stage(1), stage(2)])
    seconds["1"] = 3.0
    found.estimate_again()

    assert [taken(found), taken(found), taken(found)] == ["1", "2", None]


def test_it_agrees_with_a_search_of_the_whole_graph():
    drawn = random.Random(0)
    for _ in range(30):
        stages: list[Stage] = []
        for number in range(40):
            stages.append(stage(number, *drawn.sample(stages, min(len(stages), drawn.randrange(4)))))
        seconds = {one.label: drawn.uniform(1, 9) for one in stages}
        found, ended, running = queue(seconds, stages), set(), []

        def way(one: Stage, seconds: dict[str, float] = seconds, stages: list[Stage] = stages) -> float:
            children = [other for other in stages if one in other.parents.values()]
            return seconds[one.label] + max((way(child) for child in children), default=0.0)

        left = {one.identity: one for one in stages}
        while left or running:
            ready = [one for one in left.values() if all(parent.identity in ended for parent in one.parents.values())]
            chosen = found.take("small")
            assert (chosen is None) == (not ready)
            if chosen is not None:
                assert way(chosen) == max(map(way, ready))
                running.append(left.pop(chosen.identity))
            if running and (chosen is None or drawn.random() < 0.5):
                one = running.pop(drawn.randrange(len(running)))
                ended.add(one.identity)
                found.end(one.identity)


def test_ten_thousand_stages_are_asked_for_a_few_times_each():
    asked = 0

    def seconds_of(stage: Stage) -> float:
        nonlocal asked
        asked += 1
        return 1.0

    roots = [stage(number) for number in range(100)]
    leaves = [stage(100 + number, roots[number % 100]) for number in range(9_900)]
    found = StageQueue(lambda stage: stage.kind.name, seconds_of)
    found.add(StageGraph(leaves), set())
    while (one := found.take("small")) is not None:
        found.end(one.identity)

    assert asked <= 20_000
