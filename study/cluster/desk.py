"""The desk: where groups of workers ask the driver for stages, and tell it how these go on.

The desk is an actor that only passes messages on, so that no worker has to reach the driver's process. Should it die,
Ray starts it again and repeats the calls that had no reply; the dispatcher answers a repeated question as before. It
imports next to nothing, so that it is there at once.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A group's next stage, pickled with its rule: only the workers need to import their classes. None: end."""

    identity: str = ""
    label: str = ""
    stage: bytes | None = None


def desk_name(command: str) -> str:
    """The name by which a command's processes find its desk."""
    return f"desk-{command}"


class Desk:
    """Questions and reports on their way to the driver, and its answers on their way back."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._answers: dict[str, asyncio.Future[Assignment]] = {}

    async def ask(self, question: str, message: Mapping[str, Any]) -> Assignment:
        """Waits for the driver's answer."""
        answer = self._answers.setdefault(question, asyncio.get_running_loop().create_future())
        await self._messages.put({"about": "ask", "question": question, **message})
        try:
            return await answer
        finally:
            self._answers.pop(question, None)

    async def tell(self, message: Mapping[str, Any]) -> None:
        await self._messages.put(message)

    async def messages(self, wait_s: float) -> list[Mapping[str, Any]]:
        """All that has come in; waits for the first, though not longer than `wait_s`."""
        found = []
        try:
            found.append(await asyncio.wait_for(self._messages.get(), wait_s))
        except TimeoutError:
            return found
        while not self._messages.empty():
            found.append(self._messages.get_nowait())
        return found

    async def answer(self, question: str, assignment: Assignment) -> None:
        waiting = self._answers.get(question)
        if waiting is not None and not waiting.done():
            waiting.set_result(assignment)
