"""The toy study, really trained, in a store with its records."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from components.corpora.audio_writer import AudioWriter
from components.corpora.corpus import Corpus
from study.design.arms import Arm
from study.design.study import Study
from study.design.trial_to_stages import final_stage
from study.records.records import Records, Run
from study.stages.stage import Stage
from study.store.attempt import begin_attempt
from study.store.store import Store
from tests.study.toy_study import Bench, open_all, recipe


def train(
    study: Study, folders: Mapping[str, Path], store: Store, groups: Mapping[str, list[str]] | None = None
) -> None:
    """Trains every run of the study and records it, as its command would."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store.check_writable()
    bench, corpora, records = Bench(folders), open_all(folders), Records(store)
    runs = [(arm, seed) for arm in study.arms for seed in study.seeds]
    finals = {(arm, seed): final_stage(arm.trial, seed, recipe(), corpora) for arm, seed in runs}
    for final in finals.values():
        for stage in (*final.parents.values(), final):
            if store.done(stage.identity) is None:
                begin_attempt(store, stage).finish(bench.result(stage))
    torch.set_num_threads(threads)
    records.rebuild()
    records.write_runs([_run(study.name, arm, seed, final) for (arm, seed), final in finals.items()])
    records.write_study(_described(study, Corpus.open(folders["tagging"])) | {"groups": groups or {}})


def _run(study: str, arm: Arm, seed: int, final: Stage) -> Run:
    stages = (*(parent.identity for parent in final.parents.values()), final.identity)
    return Run(
        study=study, arm=arm.name, seed=seed, factors=arm.trial.factors, final_stage=final.identity, stages=stages
    )


def _described(study: Study, corpus: Corpus) -> dict:
    names = ("name", "digest", "counts", "excluded", "rejects")
    facts = {name: getattr(corpus.manifest, name) for name in names}
    return {
        "name": study.name,
        "preset": "toy",
        "arms": [{"name": arm.name, "factors": arm.trial.factors} for arm in study.arms],
        "seeds": list(study.seeds),
        "comparisons": [],
        "groups": {},
        "corpora": {"tagging": {"place": str(corpus.folder), **facts}},
    }


def write_songs(corpus: Path, folder: Path) -> Path:
    """The test tracks of a corpus as files, and a file that is no audio."""
    opened = Corpus.open(corpus)
    for track in opened.indices("test"):
        length = int(opened.tracks["length"][track])
        samples = opened.gather(np.array([track]), np.array([0]), length)[0, 0].numpy()
        with AudioWriter(folder / f"{opened.tracks['id'][track]}.flac", "flac") as writer:
            writer.write(samples)
    (folder / "notes.txt").write_text("no audio")
    return folder
