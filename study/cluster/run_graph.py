"""One run over a graph of stages: connect to the cluster, train what is not done, disconnect."""

import uuid
from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from study.cluster import connection
from study.cluster.dispatcher import Dispatcher, Feed
from study.cluster.execution import Execution
from study.cluster.expected_seconds import Expected
from study.cluster.scheduler import schedule
from study.records.provenance import source_facts
from study.stages.graph import StageGraph
from study.stages.progress import Progress
from study.stages.stage import Stage
from study.store.claims import Claims
from study.store.store import Store


def run_graph(
    graph: StageGraph,
    *,
    store: Store,
    execution: Execution,
    progress: Progress,
    watched: AbstractContextManager[Any],
    expected: Expected,
    feed: Feed | None = None,
    examples: Iterable[Stage] = (),
    purpose: str = "study",
) -> None:
    """Trains the stages that are not done yet, and those that `feed` adds.

    `expected`: how long stages are expected to take. `examples`: some of what `feed` will add. `watched`: a context
    that is entered while stages run. `purpose` is recorded with every attempt. ValueError for a stage that the cluster
    can never hold.
    """
    with connection.connected(execution) as scratch:
        limit = partial(connection.resource_limit, execution)
        connection.check_fits([*graph, *examples], execution, limit())
        command, facts = uuid.uuid4().hex[:12], source_facts() | {"purpose": purpose}
        claims = Claims(store, command)
        dispatcher = Dispatcher(
            graph=graph,
            store=store,
            execution=execution,
            progress=progress,
            facts=facts | {"command": command},
            limit=limit,
            holds=connection.machines_hold,
            expected=expected,
            claims=claims,
            feed=feed,
        )
        with claims, watched:
            schedule(dispatcher, execution=execution, command=command, facts=facts, scratch=scratch)
