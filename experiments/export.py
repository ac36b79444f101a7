"""Export a finished network: a folder that needs neither the store nor this project.

It holds the weights as safetensors, the configuration and the names of the classes as JSON, a `torch.export` program,
a model card and ten lines of Python that use it. With --onnx an ONNX file too.

Examples:

    python experiments/export.py results/demo --out vocals-cnn
    python experiments/export.py results/demo --arm bare --seed 1 --out bare-cnn --onnx
    python experiments/export.py results/demo --what separator --source drums --out drums-unet
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import tyro
from rich.console import Console

from study.command.display import say, terminal
from study.command.exit_code import exit_code

Store = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="STORE")]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The store is only read."""

    storage: Store
    """Folder or URI of the study's store."""
    out: str
    """Folder to make."""
    what: Literal["tagger", "separator"] = "tagger"
    """The arm's last network, or the separator that it started from."""
    study: str = ""
    """Name of the study, if the store holds several."""
    arm: str = ""
    """Whose network. Default: the reference, or the only arm with such a network."""
    source: str = ""
    """What the separator was trained for."""
    seed: int | None = None
    """Which seed's network. Default: the first that is done."""
    onnx: bool = False
    """Write an ONNX file as well; needs the extra "onnx"."""

    def __post_init__(self) -> None:
        if self.source and self.what != "separator":
            raise ValueError(f"--source {self.source} is for --what separator")


def main() -> int:
    options = tyro.cli(Options, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    console = terminal()
    return exit_code(partial(run, options, console), console, stopped="Nothing is written.")


def run(options: Options, console: Console) -> int:
    from study.store.store import Store
    from study.use.export import export
    from study.use.finished import separator, taggers

    store, study, arm = Store(options.storage), options.study or None, options.arm or None
    if options.what == "separator":
        network = separator(store, study=study, arm=arm, source=options.source or None, seed=options.seed)
        classes: tuple[str, ...] = ()
    else:
        chosen = taggers(store, study=study, arm=arm, seed=options.seed)
        network, classes = chosen.networks[0], chosen.classes
    say(console, f"Exporting the {options.what} of arm {network.arm!r}, seed {network.seed}.")
    files = export(store, network, classes, options.out, onnx=options.onnx)
    say(console, f"{options.out}: {', '.join(files)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
