"""Look after a store: what is in it, whether it is whole, and what nobody needs any more.

Examples:

    python experiments/store.py results/demo list      # stages by study and search: done, running, begun, failed
    python experiments/store.py results/demo verify    # reads every file against its checksum; exit code 1 for damage
    python experiments/store.py results/demo repair    # sets damage aside and makes again what needs no training
    python experiments/store.py results/demo prune     # says what nobody needs; --yes removes it
    python experiments/store.py s3://lab/study size    # bytes by what they are for
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.filesize import decimal

from study.command.display import Bar, terminal
from study.command.exit_code import EXIT_FAILED, exit_code
from study.stages.progress import duration
from study.store.storage import StoredAt
from study.store.store import Store
from study.upkeep.checks import Finding, checks_of, look, mend
from study.upkeep.contents import Contents, StageContents, num_bytes, written_at
from study.upkeep.pruning import Pruning, Removal, remove
from study.upkeep.sizes import sizes


@dataclass(frozen=True, kw_only=True)
class Options:
    """`list`, `verify` and `size` change nothing. None of these commands trains."""

    storage: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="STORE")]]
    """Folder or URI of the store."""
    action: tyro.conf.Positional[Literal["list", "verify", "repair", "prune", "size"]]
    """What to do."""
    yes: bool = False
    """Remove what `prune` finds. Without it nothing is removed."""

    def __post_init__(self) -> None:
        if self.yes and self.action != "prune":
            raise ValueError(f"--yes is for prune, not for {self.action}")


class Upkeep:
    """The actions on one store; each returns the exit code."""

    def __init__(self, options: Options, console: Console) -> None:
        self.options, self._console = options, console
        self._store = Store(options.storage)
        if not self._store.storage.exists("store.json"):
            raise ValueError(f"{self._store.storage.name} holds no study")

    def show(self) -> int:
        """Every stage by study and search."""
        contents = Contents(self._store)
        referred = contents.referred()
        for name in sorted(referred):
            found = [stage for identity, stage in contents.stages.items() if identity in referred[name]]
            self._say(f"{name}: {_summary(found, len(referred[name]) - len(found))}")
            self._say_stages(found)
        known = set().union(*referred.values())
        others = [stage for identity, stage in contents.stages.items() if identity not in known]
        if others:
            self._say(f"of no study and no search: {_summary(others, 0)}")
            self._say_stages(others)
        return 0

    def verify(self) -> int:
        """Names what is damaged; changes nothing."""
        findings = self._look()
        for finding in findings:
            self._say(f"damaged: {self._store.storage.name_of(finding.check.path)}: {finding.cause}")
        if findings:
            self._say(f"{_number(findings, 'fault')}. Try: python experiments/store.py {self.options.storage} repair")
        else:
            self._say("Everything that has a checksum or a form is as it was written.")
        self._say_quarantine()
        return EXIT_FAILED if findings else 0

    def repair(self) -> int:
        """Sets damage aside, and says which stages will be trained again."""
        before = self._done()
        findings = self._look()
        mend(findings, self._store)
        lost = sorted(str(stage) for identity, stage in before.items() if identity not in self._done())
        for stage in lost:
            self._say(f"not done any more: {stage}")
        again = f" {_number(lost, 'stage')} will be trained again by the same command." if lost else ""
        self._say(f"{_number(findings, 'fault')}.{again}")
        left = self._look() if findings else []
        for finding in left:
            self._say(f"still damaged: {self._store.storage.name_of(finding.check.path)}: {finding.cause}")
        self._say_quarantine()
        return EXIT_FAILED if left else 0

    def prune(self) -> int:
        """Says what nobody needs, and removes it if the options say so."""
        pruning = Pruning(Contents(self._store))
        for obstacle in pruning.obstacles:
            self._say(f"stages and inputs stay: {obstacle}")
        for reason in dict.fromkeys(removal.reason for removal in pruning.removals):
            found = [removal for removal in pruning.removals if removal.reason == reason]
            self._say(f"{reason}: {len(found)}, {decimal(num_bytes(_files(found)))}")
            for removal in found:
                self._say(f"    {removal.name}  {decimal(num_bytes(removal.files))}")
        total = decimal(num_bytes(_files(pruning.removals)))
        if not pruning.removals:
            self._say("Nothing to remove.")
        elif self.options.yes:
            with Bar("removed", self._console) as bar:
                remove(pruning.removals, self._store, bar)
            self._say(f"Removed {total}.")
        else:
            self._say(f"Nothing was removed. With --yes: {total} less.")
        return 0

    def size(self) -> int:
        """Bytes by what they are for."""
        found = sizes(Contents(self._store))
        for name, files in found.items():
            self._say(f"{decimal(num_bytes(files)):>10}  {len(files):>7,} files  {name}")
        every = [file for files in found.values() for file in files]
        self._say(f"{decimal(num_bytes(every)):>10}  {len(every):>7,} files  in all")
        return 0

    def _look(self) -> list[Finding]:
        with Bar("looked at", self._console) as bar:
            return look(checks_of(Contents(self._store)), bar)

    def _done(self) -> dict[str, StageContents]:
        return {identity: stage for identity, stage in Contents(self._store).stages.items() if stage.state == "done"}

    def _say_stages(self, stages: Iterable[StageContents]) -> None:
        for stage in sorted(stages, key=lambda stage: (stage.state, str(stage))):
            holder = f"  by {stage.holder}" if stage.state == "running" else ""
            self._say(
                f"    {stage.state:<8} {decimal(num_bytes(stage.files)):>10}  {_age(stage.files):<12}  {stage}{holder}"
            )

    def _say_quarantine(self) -> None:
        aside = [file for file in Contents(self._store).below("quarantine") if file.path.endswith(".cause")]
        if aside:
            self._say(f"{_number(aside, 'file')} set aside: {self._store.storage.name_of('quarantine')}")

    def _say(self, text: str) -> None:
        """Prints one line, however long. Brackets in it are not markup."""
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)


def _files(removals: Iterable[Removal]) -> list[StoredAt]:
    return [file for removal in removals for file in removal.files]


def _number(things: Sequence[object], name: str) -> str:
    return f"{len(things) or 'no'} {name}{'' if len(things) == 1 else 's'}"


def _summary(stages: Sequence[StageContents], num_planned: int) -> str:
    counts = {state: sum(stage.state == state for stage in stages) for state in ("done", "running", "begun", "failed")}
    counts["not begun"] = num_planned
    files = [file for stage in stages for file in stage.files]
    said = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    return f"{said}; {decimal(num_bytes(files))}, {_age(files)}"


def _age(files: Iterable[StoredAt]) -> str:
    written = written_at(files)
    return "" if written is None else f"{duration(max(0.0, time.time() - written))} ago"


def main() -> int:
    options = tyro.cli(Options, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    console = terminal()

    def run() -> int:
        upkeep = Upkeep(options, console)
        actions: dict[str, Callable[[], int]] = {
            "list": upkeep.show,
            "verify": upkeep.verify,
            "repair": upkeep.repair,
            "prune": upkeep.prune,
            "size": upkeep.size,
        }
        return actions[options.action]()

    return exit_code(run, console, stopped="The same command starts from the beginning.")


if __name__ == "__main__":
    sys.exit(main())
