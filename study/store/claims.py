"""Claims: who is training a stage, so that of several commands on one store only one does.

    claims/<identity>/<number>.json     who holds it, where, and how often it has been renewed; the last number counts

A command claims a stage before it begins it, renews its claims as long as it lives, and releases them. Another command
takes a claim over only when it has seen it unchanged for the whole time that the claim itself states, by its own clock:
clocks of machines are never compared. Only if the holder was a process of this very machine, and that is gone, it need
not wait.

A claim is taken by creating the file of the next number, which only one process can do in a folder. An object store has
no such operation through pyarrow. There, whoever has written waits for a moment and reads again: the last one to write
holds the claim. Two commands can both begin a stage only if a request took longer than that moment, on its way between
looking and writing; then the first result counts.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from study.store.storage import LocalStorage, concurrently
from study.store.store import Store

VERSION = 1
RENEW_EVERY_S = 15.0
EXPIRES_AFTER_S = 90.0
SETTLE_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The content of a claim's file. `process`: what tells the holder from all other processes of its machine."""

    version: int = VERSION
    command: str
    host: str
    process: str
    token: str
    num_renewals: int = 0
    expires_after_s: float
    is_released: bool = False

    def __str__(self) -> str:
        return f"{self.host} (command {self.command})"


class Claims:
    """The claims of one command; a context that renews them in the background and releases them at its end."""

    def __init__(
        self,
        store: Store,
        command: str,
        *,
        renew_every_s: float = RENEW_EVERY_S,
        expires_after_s: float = EXPIRES_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._storage, self._clock = store, store.storage, clock
        self._command, self._renew_every_s, self._expires_after_s = command, renew_every_s, expires_after_s
        self._held: dict[str, tuple[str, Claim]] = {}
        # Claims of others: their content, and since when it has been that.
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, name="claims", daemon=True)

    def __enter__(self) -> "Claims":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed.set()
        self._thread.join()
        concurrently(self.release, list(self._held))

    def take(self, identity: str) -> str | None:
        """Claims a stage. Returns None if it is this command's, else who holds it."""
        if identity in self._held:
            return None
        number, holder = self._look(identity)
        if holder is not None:
            return holder
        path = f"{_folder(identity)}/{number + 1:06d}.json"
        claim = Claim(
            command=self._command,
            host=socket.gethostname(),
            process=_this_process(),
            token=uuid.uuid4().hex,
            expires_after_s=self._expires_after_s,
        )
        if not self._create(path, claim):
            return "another command, which was faster"
        with self._lock:
            self._held[identity] = (path, claim)
        return None

    def holder(self, identity: str) -> str | None:
        """Who holds the claim to a stage; None if it is free, or this command's."""
        return None if identity in self._held else self._look(identity)[1]

    def release(self, identity: str) -> None:
        """Gives a claim back. Of a stage that is done nothing remains."""
        with self._lock:
            path, claim = self._held.pop(identity, (None, None))
        if path is None or claim is None:
            return
        try:
            if self._store.done(identity) is not None:
                self._storage.delete_folder(_folder(identity))
            else:
                self._write(path, replace(claim, is_released=True))
        except OSError as error:
            _log.warning("the claim %s could not be released: %s", self._storage.name_of(path), error)

    def renew(self) -> None:
        """Shows that this command lives."""
        concurrently(self._renew, list(self._held))

    def _keep_renewing(self) -> None:
        while not self._is_closed.wait(self._renew_every_s):
            self.renew()

    def _renew(self, identity: str) -> None:
        with self._lock:
            if identity not in self._held:
                return
            path, claim = self._held[identity]
            claim = replace(claim, num_renewals=claim.num_renewals + 1)
            try:
                self._write(path, claim)
            except OSError as error:  # the next renewal may do better
                _log.warning("the claim %s could not be renewed: %s", self._storage.name_of(path), error)
            else:
                self._held[identity] = (path, claim)

    def _look(self, identity: str) -> tuple[int, str | None]:
        """The number of a stage's last claim, and who holds it; 0 if there was none."""
        names = [name for name in self._storage.names(_folder(identity)) if _number(name)]
        if not names:
            return 0, None
        path, number = f"{_folder(identity)}/{names[-1]}", _number(names[-1])
        try:
            content = self._storage.read(path)
        except FileNotFoundError:  # the stage was done just now
            return number, None
        claim, holder = _parsed(content, self._storage.name_of(path))
        if claim is not None and (claim.is_released or _is_gone(claim)):
            return number, None
        known, since = self._seen.get(identity, (None, 0.0))
        if content != known:
            since = self._clock()
            self._seen[identity] = (content, since)
        lasts_s = claim.expires_after_s if claim is not None else self._expires_after_s
        return number, None if self._clock() - since > lasts_s else holder

    def _create(self, path: str, claim: Claim) -> bool:
        content = _content(claim)
        if not self._storage.create(path, content):
            return False
        if isinstance(self._storage, LocalStorage):
            return True
        time.sleep(SETTLE_S)
        return self._storage.read(path) == content

    def _write(self, path: str, claim: Claim) -> None:
        self._storage.write(path, _content(claim))


def _folder(identity: str) -> str:
    return f"claims/{identity}"


def _number(name: str) -> int:
    digits = name.split(".", maxsplit=1)[0]
    return int(digits) if digits.isdigit() else 0


def _content(claim: Claim) -> bytes:
    return json.dumps(asdict(claim), indent=1).encode()


def _parsed(content: bytes, name: str) -> tuple[Claim | None, str]:
    """The claim, and who holds it in words. A claim that cannot be read is somebody's until its time is up."""
    try:
        fields: dict[str, Any] = json.loads(content)
        if fields["version"] > VERSION:
            return None, f"a newer version of this code (its claim is {name})"
        claim = Claim(**fields)
        return claim, str(claim)
    except (ValueError, TypeError, KeyError):
        return None, f"nobody knows who: {name} is damaged"


def _this_process() -> str:
    return _process(os.getpid()) or "unknown"


def _process(pid: int) -> str | None:
    """What tells a process from all others on this machine, before and after; None if there is no such process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink()
        # Behind the program's name, which may hold spaces: its state first, the time of its start as the 20th field.
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else f"{boot} {namespace} {pid} {fields[19]}"


def _is_gone(claim: Claim) -> bool:
    """Whether the holder was a process of this machine that has ended."""
    parts, here = claim.process.split(), _this_process().split()
    return len(parts) == len(here) == 4 and parts[:2] == here[:2] and _process(int(parts[2])) != claim.process
