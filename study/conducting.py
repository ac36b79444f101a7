"""Conducting: a graph of stages trained on the cluster, with its progress shown, from the first to the last."""

import signal
import uuid
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console

from study.display import shown
from study.progress import Progress
from study.provenance import source_facts
from study.site import Site
from study.stage import Stage, StageGraph
from study.store import Store

if TYPE_CHECKING:
    from study.scheduler import Feed


def conduct(
    graph: StageGraph,
    *,
    store: Store,
    site: Site,
    progress: Progress,
    console: Console,
    around: AbstractContextManager[Any] | None = None,
    feed: "Feed | None" = None,
    expected: Iterable[Stage] = (),
    purpose: str = "study",
) -> None:
    """Trains what is not done yet, and what `feed` adds, such as `expected`; `around` is entered while stages run.

    ValueError for a stage that the cluster can never hold. `purpose` is recorded beside every attempt.
    """
    # Ray takes seconds to import: whoever has nothing to train need not wait for it.
    from study import cluster
    from study.scheduler import StageSearcher, schedule

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cluster.connected(site) as scratch:
        limit = partial(cluster.limit, site)
        cluster.check_fits([*graph, *expected], site, limit())
        searcher = StageSearcher(
            graph=graph, store=store, site=site, progress=progress, limit=limit, present=cluster.present, feed=feed
        )
        known = source_facts() | {"purpose": purpose}
        with around or nullcontext(), shown(progress, console):
            schedule(searcher, site=site, command=uuid.uuid4().hex[:12], facts=known, scratch=scratch)
