"""Export: a finished network as a folder that needs neither the store nor this project."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from components.corpora.audio import SAMPLE_RATE
from study.kinds.trained_networks import TrainedTagger, stage_from, trained_separator
from study.kinds.weights import WEIGHTS
from study.stages.identity import canonical
from study.store.store import Store
from study.use.finished import Network
from study.use.model_card import ModelCard, example_of
from study.use.programs import Estimates, Masks, Probabilities, write_onnx_program, write_torch_program

CONFIG, PROGRAM, ONNX, CARD, EXAMPLE = "config.json", "network.pt2", "network.onnx", "README.md", "example.py"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What of a network is written: its programs, an input for each, and the facts that a user needs."""

    program: torch.nn.Module
    program_input: torch.Tensor
    onnx: torch.nn.Module
    onnx_input: torch.Tensor
    facts: dict[str, Any]


def export(store: Store, network: Network, classes: tuple[str, ...], folder: str, *, onnx: bool) -> list[str]:
    """Writes weights, configuration, programs, card and example; returns the files' names. `classes`: a tagger's.

    Raises:
        FileExistsError: there is something at `folder`.
        ValueError: a program's outputs are not the network's.
    """
    target = Path(folder).expanduser().absolute()
    if target.exists():
        raise FileExistsError(f"{target} exists already: give another --out")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        _write(store, network, classes, unfinished, onnx=onnx)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return sorted(path.name for path in target.iterdir())


def _write(store: Store, network: Network, classes: tuple[str, ...], folder: Path, *, onnx: bool) -> None:
    parts = _separator_parts(store, network) if network.task == "separation" else _tagger_parts(store, network, classes)
    (folder / WEIGHTS).write_bytes(store.read(network.stage, WEIGHTS))
    configuration = {"configuration": canonical(stage_from(network.config), with_legacy=True)}
    (folder / CONFIG).write_text(json.dumps(parts.facts | configuration, indent=1, ensure_ascii=False) + "\n", "utf-8")
    write_torch_program(parts.program, parts.program_input, folder / PROGRAM)
    if onnx:
        write_onnx_program(parts.onnx, parts.onnx_input, folder / ONNX)
    (folder / EXAMPLE).write_text(example_of(network.task), encoding="utf-8")
    (folder / CARD).write_text(ModelCard(store, network, parts.facts).text(onnx=onnx), encoding="utf-8")


def _tagger_parts(store: Store, network: Network, classes: tuple[str, ...]) -> Parts:
    tagger = TrainedTagger(store, network.stage, network.config, task=network.task)
    program, heard = Probabilities(tagger.network, network.task), _sound(tagger.num_samples)
    facts = _facts(network) | {
        "classes": list(classes),
        "num_samples": tagger.num_samples,
        "hop_samples": tagger.hop_samples,
        "precision": tagger.stage.arithmetic.precision,
    }
    return Parts(program=program.eval(), program_input=heard, onnx=program, onnx_input=heard, facts=facts)


def _separator_parts(store: Store, network: Network) -> Parts:
    separator, stage = trained_separator(store, network.stage, network.config), stage_from(network.config)
    num_samples = separator.config.spectrogram.num_samples(stage.num_frames)
    heard = _sound(num_samples)
    facts = _facts(network) | {
        "sources": list(separator.config.sources),
        "num_samples": num_samples,
        "window_samples": separator.config.spectrogram.window_samples,
        "hop_samples": separator.config.spectrogram.hop_samples,
        "precision": stage.arithmetic.precision,
    }
    return Parts(
        program=Estimates(separator, num_samples).eval(),
        program_input=heard,
        # ONNX has no complex numbers, so the Fourier transforms stay outside.
        onnx=Masks(separator).eval(),
        onnx_input=separator.spectrogram.stft(heard)[..., :-1].abs(),
        facts=facts,
    )


def _facts(network: Network) -> dict[str, Any]:
    names = {"study": network.study, "arm": network.arm, "seed": network.seed, "task": network.task}
    return names | {"source": network.source, "stage": network.stage, "sample_rate": SAMPLE_RATE}


def _sound(num_samples: int) -> torch.Tensor:
    """Two segments of noise: what programs are checked with."""
    return torch.randn(2, num_samples, generator=torch.Generator().manual_seed(0)) / 4
