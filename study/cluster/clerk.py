"""The clerk: opens the desk, and passes what arrives there on to the dispatcher."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.cluster.connection import present_resources, ray
from study.cluster.desk import Assignment, Desk, desk_name
from study.cluster.dispatcher import Dispatcher

WAIT_S = 0.5


def open_desk(command: str) -> Any:
    """The desk of a command, on the machine of its driver: the two are lost together or not at all."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return (
        ray.remote(Desk)
        .options(
            name=desk_name(command),
            num_cpus=0,
            max_concurrency=10_000,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy=here,
        )
        .remote()
    )


class Clerk:
    """A thread of the driver's that passes what arrives at the desk on to the dispatcher."""

    def __init__(self, desk: Any, dispatcher: Dispatcher) -> None:
        self._desk, self._dispatcher = desk, dispatcher
        dispatcher.answer, dispatcher.kill = self._answer, self._kill
        self._workers: dict[str, Any] = {}
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="clerk", daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> "Clerk":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed.set()
        self._thread.join(10 * WAIT_S)
        with suppress(Exception):  # the whole cluster may be lost
            ray.kill(self._desk)

    def check(self) -> None:
        """Raises what has ended the thread."""
        if self._error is not None:
            raise self._error

    def _answer(self, question: str, assignment: Assignment) -> None:
        self._desk.answer.remote(question, assignment)

    def _kill(self, group: str) -> None:
        """Ends the first worker of a group, and so the group."""
        ray.kill(self._workers[group])

    def _serve(self) -> None:
        try:
            while not self._is_closed.is_set():
                for message in ray.get(self._desk.messages.remote(WAIT_S)):
                    self._handle(message)
                self._dispatcher.note_shortage(present_resources())
                self._dispatcher.tick()
                self._dispatcher.assign()
        except BaseException as error:
            self._error = error

    def _handle(self, message: Mapping[str, Any]) -> None:
        group = message["group"]
        if message["about"] == "ask":
            self._workers[group] = message["worker"]
            self._dispatcher.ask(group, message["question"], message["outcome"])
        elif message["about"] == "failure":
            self._dispatcher.fail(group, message["stage"], message["outcome"])
        elif message["about"] == "end":
            self._workers.pop(group, None)
            self._dispatcher.end_group(group, message["cause"], unplaced=message["unplaced"])
        else:
            self._dispatcher.report(group, message["stage"], message["progress"])
