"""The ablation reads like its sentence, and its command line plans, explains and refuses without starting anything."""

import ast
import os
import subprocess
import sys
from itertools import chain, product

import numpy as np
import pytest

from components.corpora.audio import SAMPLE_RATE
from components.corpora.corpus_format import SPLITS
from components.corpora.corpus_writer import CorpusWriter
from components.corpora.generated.content import DRUM_TAGS, TAGS, VOCAL_TAGS
from components.corpora.magnatagatune import TOP_50
from components.networks.adapters import ALL_POINTS
from experiments import ablation
from experiments.presets import PRESETS
from experiments.tag_groups import TAG_GROUPS
from study.command.study import main
from tests import ROOT

SCRIPT = ROOT / "experiments" / "ablation.py"


def test_the_reference_is_a_frozen_vocals_unet_with_all_adapters():
    reference = ablation.reference
    assert (reference.source, reference.scheme, reference.unet) == ("vocals", "two-stage", "frozen")
    assert reference.insertion == ALL_POINTS


def test_the_arms_are_probes_bare_and_the_reference():
    trials = {arm.name: arm.trial for arm in ablation.study.arms}
    assert list(trials) == ["probe mixture", "probe none", "probe vocals", "bare", "reference"]
    assert trials["bare"].is_bare and trials["reference"] == ablation.reference
    assert len(ablation.study.seeds) >= 4


def test_the_question_fits_a_screen():
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    tree = ast.parse("\n".join(lines))
    docstring = tree.body[0].end_lineno or 0
    assert len([line for line in lines[docstring:] if line.strip()]) < 40


def test_the_source_is_asked_about_its_own_tags_against_the_mixture_alone_and_a_random_unet():
    compared = ablation.study.comparisons
    assert {(arm, group) for arm, _, group in compared} == {("probe vocals", "vocal tags")}
    assert {against for _, against, _ in compared} == {"probe mixture", "probe none"}


def test_the_groups_are_tags_that_are_generated():
    assert set(TAG_GROUPS["vocal tags"]) & set(TAGS) == set(VOCAL_TAGS)
    assert set(TAG_GROUPS["drum tags"]) & set(TAGS) == set(DRUM_TAGS)
    assert set(chain(*TAG_GROUPS.values())) <= {*TAGS, *TOP_50}
    assert set(VOCAL_TAGS) | set(DRUM_TAGS) <= set(TAGS)
    assert len(VOCAL_TAGS) >= 4 and len(DRUM_TAGS) >= 4


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Corpora of silence: enough to plan with."""
    folder = tmp_path_factory.mktemp("corpora")
    stems = ("mixture", "drums", "bass", "other", "vocals")
    with CorpusWriter(folder / "songs", name="silence", kind="separation", stems=stems) as writer:
        for split in SPLITS:
            writer.add(split, np.zeros((4 * SAMPLE_RATE, 5), np.int16), split=split)
    with CorpusWriter(folder / "tags", name="silence", kind="tagging", classes=("loud", "soft")) as writer:
        for split, label, number in product(SPLITS, ("loud", "soft"), range(4)):
            writer.add(f"{split} {label} {number}", np.zeros(4 * SAMPLE_RATE, np.int16), split=split, labels=[label])
    return ["--separation-corpus", str(folder / "songs"), "--tagging-corpus", str(folder / "tags")]


@pytest.fixture
def call(tmp_path):
    """Runs the script where importing Ray fails."""
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "ray.py").write_text("raise ImportError('Ray was imported')")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name not in ("STUDY_STORAGE", "COLUMNS")}
        environment |= {"PYTHONPATH": f"{tmp_path / 'blocked'}:{ROOT}", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(SCRIPT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)

    return run


def test_plan_tells_what_would_run_and_runs_nothing(call, corpora, tmp_path):
    done = call("--plan", "--preset", "tiny", *corpora)
    assert done.returncode == 0, done.stderr
    arms, seeds = ablation.study.arms, ablation.study.seeds
    assert f"{len(arms)} arms x {len(seeds)} seeds = {len(arms) * len(seeds)} runs, " in done.stdout
    assert all(f"  {arm.name} " in done.stdout for arm in arms)
    # These corpora have other tags.
    vocal_tags = ", ".join(TAG_GROUPS["vocal tags"])
    assert f"The tagging corpus has none of the vocal tags ({vocal_tags}): 2 planned" in done.stdout
    would_run, clock, source, saved, can_show = done.stdout.splitlines()[-5:]
    assert would_run.startswith("0 of ") and would_run.endswith(" would run.")
    assert clock.startswith("What would run takes about ") and "guessed from FLOPs" in source
    assert saved.startswith("Sharing stages between runs saves ")
    assert can_show.startswith(f"The smallest effect that {len(seeds)} seeds show")
    assert done.stderr == ""
    # The storage is the default, in the home directory.
    assert [path.name for path in (tmp_path / "studies" / "pretraining-tiny").iterdir()] == ["store.json"]


def test_storage_that_cannot_be_written_is_exit_code_2(call, corpora, tmp_path):
    (tmp_path / "file").write_text("no folder")
    done = call("--storage", str(tmp_path / "file" / "store"), *corpora)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("ablation.py: storage ") and "is not writable" in line


def here(monkeypatch, *arguments: str) -> int:
    """The same command without the start of another process."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    return main(ablation.study, PRESETS, groups=TAG_GROUPS, description=ablation.__doc__)


def test_an_unknown_preset_is_exit_code_2(monkeypatch, capsys):
    assert here(monkeypatch, "--preset", "huge") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"ablation.py: --preset 'huge' does not exist; there are: {', '.join(PRESETS)}\n"


def test_help_tells_the_question_and_the_presets(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit, match="0"):
        here(monkeypatch, "--help")
    text = capsys.readouterr().out
    assert "Does pre-training by source separation help to tag music" in text
    assert all(f"--preset {name}: {preset.description}" in text for name, preset in PRESETS.items())
