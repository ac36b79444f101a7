"""A tiny study on a cluster of two nodes, and what can be killed of it."""

import json
import os
import random
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path
from types import TracebackType

import psutil

from study.command.exit_code import EXIT_FAILED
from tests import ROOT
from tests.study.cluster.ray_head import Head

# What a process writes when it is killed -> the order for it, see sitecustomize.py.
WRITES = {
    "driver, writing a record": "records:runs:",
    "worker, writing a state": "state-",
    "worker, writing a result": "result.json",
    "worker, writing a marker": "done.json",
    "worker, marker just written": "done.json@linked",
    "worker, writing records": "records:stages:",
}
ACTORS = {"worker": "RayTrainWorker", "trial": "ImplicitFunc", "controller": "TrainController", "desk": "Desk"}
LOSE_THE_CLUSTER = ("GCS", "raylet of the head")
KINDS = ("driver", *ACTORS, "raylet", "node", *LOSE_THE_CLUSTER, *WRITES)
# Of the driver and the head: sooner than 60 s, so that more can be killed.
RECONNECT = {"RAY_gcs_rpc_server_reconnect_timeout_s": "8"}
WITHIN_S = 300.0
# Two stages at once. More would only wait for each other while killed processes start again.
CPUS_OF_A_NODE = 1
GIVEN_UP = "without progress"
# Prints the placement groups that still hold anything.
_HELD = """
import json, ray
from study.cluster import connection
ray.init(log_to_driver=False, logging_level="ERROR")
groups = ray.util.placement_group_table().values()
print(json.dumps([group["name"] for group in groups if group["state"] != "REMOVED"]))
"""


class DisturbedStudy:
    """The study's command, kept running until it has ended well; a context that takes everything down."""

    def __init__(self, folder: Path, script: str, *options: str, num_nodes: int = 2) -> None:
        self.storage, self._orders = folder / "store", folder / "orders"
        self._script, self._options, self._num_nodes = script, options, num_nodes
        for made in (self._orders, folder / "orders.done"):
            made.mkdir(parents=True)
        self._ordered: list[str] = []
        self._out = folder / "out.txt"
        self._head: Head | None = None
        self._driver: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "DisturbedStudy":
        self._start_cluster()
        self._start_driver()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._driver is not None and self._driver.poll() is None:
            self._driver.kill()
            self._driver.wait()
        if self._head is not None:
            self._head.__exit__()

    @property
    def _settings(self) -> dict[str, str]:
        path = os.pathsep.join([str(ROOT / "tests/chaos/in_every_process"), str(ROOT)])
        return {"PYTHONPATH": path, "CHAOS": str(self._orders), **RECONNECT}

    @property
    def env(self) -> dict[str, str]:
        """For other clients of the cluster."""
        assert self._head is not None
        return self._head.env | {"RAY_ADDRESS": self._head.cluster}

    def _start_cluster(self) -> None:
        self._head = Head(num_cpus=CPUS_OF_A_NODE, **self._settings).__enter__()
        for _ in range(self._num_nodes - 1):
            self._add_node()

    def _add_node(self) -> None:
        assert self._head is not None
        self._head.add_node(CPUS_OF_A_NODE, **self._settings)

    def _start_driver(self) -> None:
        assert self._head is not None
        self._num_said = len(self.said)
        command = [sys.executable, self._script, "--storage", str(self.storage), "--checkpoint-every-s", "0"]
        with self._out.open("ab") as out:
            self._driver = subprocess.Popen(
                [*command, *self._options],
                cwd=ROOT, env=self.env | self._settings,
                stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def said(self) -> str:
        """What all the commands have printed."""
        return self._out.read_text(errors="replace") if self._out.exists() else ""

    @property
    def has_ended(self) -> bool:
        """Whether the command has ended well; AssertionError, with what it said, if it has not.

        It may give a stage up that was killed again and again before it could save a state. Then it is started again.
        """
        assert self._driver is not None
        code = self._driver.poll()
        if code == -signal.SIGKILL and any(kind.startswith("driver") for kind in self._taken()):
            return False
        if code == -signal.SIGKILL and any((self._orders.parent / "orders.done").iterdir()):
            # It took an order that was meant for a worker: it writes the end of stages that it gives up.
            self._start_driver()
            return False
        if code == EXIT_FAILED and f"times {GIVEN_UP}" in self.said[self._num_said :]:
            self._start_driver()
            return False
        assert code in (None, 0), f"the command ended with {code}:\n{self.said}"
        return code == 0

    def run_again(self) -> str:
        """What the same command says once more."""
        before = len(self.said)
        self._start_driver()
        assert self._driver is not None and self._driver.wait(WITHIN_S) == 0, self.said
        return self.said[before:]

    def placement_groups(self) -> list[str]:
        """The names of those that still hold something."""
        env = self.env | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", _HELD], cwd=ROOT, env=env, capture_output=True, check=True)
        return json.loads(done.stdout)

    def num_written(self) -> int:
        """How many files the stages have written: any that is more is progress."""
        return sum(1 for _ in self.storage.glob("stages/*/attempts/*/*"))

    def kill(self, kind: str, drawn: random.Random) -> bool:
        """Kills one; returns whether there was one. What cannot come back by itself is started again.

        At a write a process kills itself, sooner or later: `killed_at_writes` tells.
        """
        assert self._head is not None and self._driver is not None
        if kind in WRITES:
            if kind not in self._ordered:
                (self._orders / WRITES[kind]).touch()
                self._ordered.append(kind)
            return False
        if kind == "driver":
            self._driver.kill()
            self._driver.wait()
            self._start_driver()
            return True
        if kind == "node":
            self._head.kill_node()
            self._add_node()
            return True
        victims = self._victims(kind)
        if not victims:
            return False
        drawn.choice(victims).kill()
        if kind == "raylet":
            self._head.kill_node()
            self._add_node()
        if kind in LOSE_THE_CLUSTER:
            # The command must end by itself, and say how to go on.
            code = self._driver.wait(WITHIN_S)
            assert code != 0, self.said
            self._head.__exit__()
            self._start_cluster()
            self._start_driver()
        return True

    def _victims(self, kind: str) -> list[psutil.Process]:
        assert self._head is not None
        of_head, *of_others = (_family(node.pid) for node in self._head.nodes)
        if kind == "GCS":
            return [p for p in of_head if _name(p) == "gcs_server"]
        if kind.startswith("raylet"):
            return [p for p in (of_others[0] if kind == "raylet" else of_head) if _name(p) == "raylet"]
        return [p for p in chain(of_head, *of_others) if f"ray::{ACTORS[kind]}" in _title(p)]

    def killed_at_writes(self) -> list[str]:
        """The kinds of those that have killed themselves since the last call; a driver is started again."""
        assert self._driver is not None
        taken = self._taken()
        for kind in taken:
            self._ordered.remove(kind)
            if kind.startswith("driver"):
                self._driver.wait(WITHIN_S)
                self._start_driver()
        return taken

    def _taken(self) -> list[str]:
        return [kind for kind in self._ordered if not (self._orders / WRITES[kind]).exists()]

    def withdraw_orders(self) -> None:
        """Nobody kills itself any more."""
        for kind in self._ordered:
            (self._orders / WRITES[kind]).unlink(missing_ok=True)
        self._ordered.clear()


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:1])
    except psutil.Error:
        return ""


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""
