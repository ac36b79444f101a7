"""One run over a graph of stages: connect to the cluster, train what is not done, disconnect."""

import uuid
from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from study.cluster import connection
from study.cluster.execution import Execution
from study.cluster.scheduler import Feed, StageSearcher, schedule
from study.records.provenance import source_facts
from study.stages.graph import StageGraph
from study.stages.progress import Progress
from study.stages.stage import Stage
from study.store.store import Store


def run_graph(
    graph: StageGraph,
    *,
    store: Store,
    execution: Execution,
    progress: Progress,
    watched: AbstractContextManager[Any],
    feed: Feed | None = None,
    expected: Iterable[Stage] = (),
    purpose: str = "study",
) -> None:
    """Trains the stages that are not done yet, and those that `feed` adds.

    `expected`: examples of what `feed` will add. `watched`: a context that is entered while stages run. `purpose` is
    recorded with every attempt. ValueError for a stage that the cluster can never hold.
    """
    with connection.connected(execution) as scratch:
        limit = partial(connection.resource_limit, execution)
        connection.check_fits([*graph, *expected], execution, limit())
        searcher = StageSearcher(
            graph=graph,
            store=store,
            execution=execution,
            progress=progress,
            limit=limit,
            present=connection.present_resources,
            feed=feed,
        )
        facts = source_facts() | {"purpose": purpose}
        with watched:
            schedule(searcher, execution=execution, command=uuid.uuid4().hex[:12], facts=facts, scratch=scratch)
