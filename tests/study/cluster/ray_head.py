"""A Ray head with its job server on loopback and token authentication, as `ray start` makes it, and further nodes."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests import ROOT

RAY = str(Path(sys.executable).parent / "ray")
START_WITHIN_S = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Head:
    """Started in the repository, as README tells; ends with everything that it started.

    `settings` are environment variables of its node's processes.
    """

    def __init__(self, num_cpus: int = 2, **settings: str) -> None:
        self._num_cpus, self._settings = num_cpus, settings

    def __enter__(self) -> "Head":
        # Sockets lie below it, and their paths must be short.
        self.folder = tempfile.mkdtemp(prefix="head-", dir="/tmp")
        self.address = f"http://127.0.0.1:{free_port()}"
        token = Path(self.folder) / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        self.env = os.environ | {
            "HOME": self.folder,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        self.env.pop("RAY_ADDRESS", None)
        self.cluster = f"127.0.0.1:{free_port()}"
        self._log = (Path(self.folder) / "head.log").open("w")
        self._process = self._start_node(
            *("--head", f"--num-cpus={self._num_cpus}", f"--temp-dir={self.folder}/ray"),
            *(f"--port={self.cluster.rsplit(':', 1)[1]}", "--dashboard-host=127.0.0.1"),
            f"--dashboard-port={self.address.rsplit(':', 1)[1]}",
            **self._settings,
        )
        self.nodes = [self._process]
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # "ray stop" would stop other people's clusters too, and an orderly end takes half a minute.
        for node in reversed(self.nodes):
            with suppress(psutil.NoSuchProcess):
                main = psutil.Process(node.pid)
                for process in [*main.children(recursive=True), main]:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            node.wait(60)
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill_node(self) -> None:
        """The machine that was added last is gone, with all that ran on it."""
        main = psutil.Process(self.nodes.pop().pid)
        for process in [*main.children(recursive=True), main]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def add_node(self, num_cpus: int, **settings: str) -> None:
        """Another machine, as far as Ray can tell, with environment variables of its own."""
        self.nodes.append(self._start_node(f"--address={self.cluster}", f"--num-cpus={num_cpus}", **settings))
        ends = time.monotonic() + START_WITHIN_S
        while (status := self.ray("status", "--address", self.cluster).stdout).count(" node_") < len(self.nodes):
            assert time.monotonic() < ends, status
            time.sleep(1)

    def _start_node(self, *options: str, **settings: str) -> "subprocess.Popen[bytes]":
        # Every node's agent has a port of its own: another cluster of this machine may hold the usual one.
        own_port = f"--dashboard-agent-listen-port={free_port()}"
        return subprocess.Popen(
            [RAY, "start", "--block", "--node-ip-address=127.0.0.1", own_port, *options],
            cwd=ROOT, env=self.env | settings, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def _wait_until_it_answers(self) -> None:
        ends = time.monotonic() + START_WITHIN_S
        while (answer := self.ray("job", "list", "--address", self.address)).returncode != 0:
            log = (Path(self.folder) / "head.log").read_text()
            assert self._process.poll() is None and time.monotonic() < ends, log + answer.stdout
            time.sleep(1)

    def ray(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The ray command as a client of this head."""
        return subprocess.run(
            [RAY, *arguments],
            cwd=ROOT, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip

    def submit(self, *options: str, entry: str) -> "subprocess.CompletedProcess[str]":
        """A submitted job's outcome; asked again while the head's agent is not up yet, as Ray's error says to do."""
        ends = time.monotonic() + START_WITHIN_S
        while True:
            done = self.ray("job", "submit", "--address", self.address, *options, "--", *entry.split())
            if "No available agent to submit job" not in done.stdout or time.monotonic() > ends:
                return done
            time.sleep(2)
