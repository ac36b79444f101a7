"""The card of an exported network: what it is, what it was trained on, how well it did, how to use it."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from study.report.arm_names import in_words
from study.report.facts import Facts, text
from study.statistics.over_seeds import Interval, spread
from study.store.store import Store
from study.use.finished import Network

# Ten lines that need PyTorch and NumPy alone.
_TAGGING_EXAMPLE = '''"""The tags of a song: a WAV file, mono, 16 kHz, 16 bits. python example.py song.wav"""
import json, sys, wave
import numpy as np, torch
config = json.load(open("config.json"))
with wave.open(sys.argv[1]) as file:
    song = np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768)
segments = torch.from_numpy(song).unfold(0, config["num_samples"], config["hop_samples"])
network = torch.export.load("network.pt2").module()
for name, score in zip(config["classes"], network(segments).mean(dim=0).tolist()):
    print(f"{score:.6f}", name)
'''
_SEPARATION_EXAMPLE = '''"""The sources of a beginning: a WAV file, mono, 16 kHz, 16 bits. python example.py song.wav"""
import json, sys, wave
import numpy as np, torch
config = json.load(open("config.json"))
with wave.open(sys.argv[1]) as file:
    song = np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768)
network = torch.export.load("network.pt2").module()
estimates = network(torch.from_numpy(song)[None, : config["num_samples"]])[0]
for source, estimate in zip(config["sources"], estimates.detach().numpy()):
    np.save(f"{source}.npy", estimate)
'''
_FRONT_END = (
    "The ONNX program starts from magnitudes [segment, frame, bin] and gives masks [segment, source, frame, bin]: ONNX "
    "has no complex numbers. The magnitudes: frames of {window_samples} samples, {hop_samples} apart, no padding, a "
    "periodic Hann window, the Fourier transform's absolute values without the last bin (Nyquist). An estimate is the "
    "mask times the mixture's spectrum, its last bin unchanged, transformed back and overlap-added."
)


def example_of(task: str) -> str:
    """A script that uses the exported network without this project."""
    return _SEPARATION_EXAMPLE if task == "separation" else _TAGGING_EXAMPLE


class ModelCard:
    """The card of one network of a store; `facts`: those of its configuration's file."""

    def __init__(self, store: Store, network: Network, facts: Mapping[str, Any]) -> None:
        self._study, self._network, self._facts = Facts(store, network.study), network, facts

    def text(self, *, onnx: bool) -> str:
        """In Markdown, with a head that model hubs read."""
        network = self._network
        what = "separator" if network.task == "separation" else f"{network.task} network"
        parts = [
            "---\nlicense: # to be filled in by the owner\ntags: [audio, music, pytorch]\n---",
            f"# {self._words()}, seed {network.seed}",
            f"A {what} from the study “{self._study.name}” (preset {self._study.preset}), arm “{network.arm}”.",
            "\n".join(["## Data", *self._data()]),
            "\n".join(["## Scores", *self._scores()]),
            "\n".join(["## Input and output", *self._form(onnx)]),
            f"## Use\n\n```python\n{example_of(network.task)}```",
            "\n".join(["## Origin", *self._origin()]),
        ]
        return "\n\n".join(parts) + "\n"

    def _words(self) -> str:
        if self._network.task == "separation":
            return f"A U-Net that separates {' and '.join(self._facts['sources'])}"
        words = in_words(self._study.arms, self._network.arm)
        return words[0].upper() + words[1:]

    def _data(self) -> list[str]:
        return [
            f"- {kind}: {corpus['name']}, digest {corpus['digest']}"
            + (" (generated music: no recordings)" if kind in self._study.generated else "")
            for kind, corpus in self._study.corpora.items()
        ]

    def _scores(self) -> list[str]:
        if self._network.task == "separation":
            return self._stage_scores()
        runs = [run for run in self._study.runs if run["arm"] == self._network.arm and run["state"] == "done"]
        metrics = self._study.metrics_of(self._network.task)
        own = next(run for run in runs if run["seed"] == self._network.seed)
        # Seeds that share a network count once.
        different = {run["final_stage"]: run for run in runs}.values()
        return [
            f"- {title} on the test split: {own[name]:.4f}{_over([run[name] for run in different])}"
            for name, title in metrics.items()
            if own.get(name) is not None
        ]

    @cached_property
    def _row(self) -> dict[str, Any]:
        """What the records say of the network's stage."""
        sql = f"SELECT * FROM stages WHERE stage = {text(self._network.stage)} AND state = 'done'"
        return self._study.ask(sql).rows[0]

    def _stage_scores(self) -> list[str]:
        row = self._row
        return [
            f"- {source}: SI-SDR {row[f'si_sdr_{source}']:.2f} dB on the test split "
            f"(the mixture itself: {row[f'si_sdr_mixture_{source}']:.2f} dB)"
            for source in self._facts["sources"]
            if row.get(f"si_sdr_{source}") is not None
        ]

    def _form(self, onnx: bool) -> list[str]:
        facts = self._facts
        output = "their waveforms [segment, source, sample]" if "sources" in facts else "probabilities [segment, class]"
        lines = [
            f"- `network.pt2` (`torch.export`): segments [segment, {facts['num_samples']} samples], mono at "
            f"{facts['sample_rate']} Hz, full scale -1 to 1; gives {output}, names in `config.json`.",
            f"- It computes in float32; the study computed in {facts['precision']}.",
        ]
        if "classes" in facts:
            lines.append(f"- A song's score is the mean over its segments, {facts['hop_samples']} samples apart.")
        if onnx and "sources" in facts:
            lines.append(f"- {_FRONT_END.format(**facts)}")
        elif onnx:
            lines.append("- `network.onnx` takes and gives the same.")
        return lines

    def _origin(self) -> list[str]:
        row = self._row
        levels = self._study.arms[self._network.arm].items()
        factors = ", ".join(f"{name} {level}" for name, level in levels if level != "-")
        return [
            f"- arm “{self._network.arm}”: {factors}",
            f"- stage {self._network.stage}",
            f"- code: commit {row.get('commit') or 'unknown'}, sources {row.get('source_digest') or 'unknown'}",
        ]


def _over(values: Sequence[float]) -> str:
    """The arm's mean with its 95 % interval over the seeds, where there are several."""
    if len(values) < 2:
        return ""
    mean, sd, num = spread(np.array(values))
    found = Interval.around(mean, sd / num**0.5, df=num - 1, confidence=0.95, varies="seeds", num=num)
    return f"; the arm's mean over {len(values)} seeds {mean:.4f}, 95 % interval [{found.low:.4f}, {found.high:.4f}]"
