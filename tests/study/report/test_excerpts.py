"""Inside songs: the networks that were trained, heard over time, on the songs where they disagree most."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from components.corpora.corpus import Corpus
from study.design.trial import bare_trial
from study.design.trial_to_stages import final_stage
from study.kinds.trained_networks import CONFIGS, TrainedTagger
from study.records.query import Query
from study.records.records import Records, Run
from study.report.blocks import Audio, Figure, Table
from study.report.facts import Facts
from study.report.sections import excerpts
from study.stages.identity import canonical, from_canonical
from study.store.attempt import begin_attempt
from study.store.store import Store
from tests.study.toy_study import REFERENCE, SEGMENT, TAGS, Bench, open_all, recipe, write_corpora

ARMS = {"bare": bare_trial(REFERENCE), "reference": REFERENCE}
GROUPS = {"known": ["slow", "sung"]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return write_corpora(tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="module")
def trained(folders, tmp_path_factory) -> Store:
    """The bare backend and the reference, trained, in a store."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store, bench, corpora = Store(tmp_path_factory.mktemp("store")), Bench(folders), open_all(folders)
    store.check_writable()
    finals = {arm: final_stage(trial, 0, recipe(), corpora) for arm, trial in ARMS.items()}
    for final in finals.values():
        for stage in (*final.parents.values(), final):
            begin_attempt(store, stage).finish(bench.result(stage))
    torch.set_num_threads(threads)
    records = Records(store)
    records.rebuild()
    runs = [_run(arm, final) for arm, final in finals.items()]
    records.write_runs(runs)
    records.write_study(_described(folders["tagging"]))
    return store


def _run(arm, final) -> Run:
    stages = (*(parent.identity for parent in final.parents.values()), final.identity)
    return Run(study="toy", arm=arm, seed=0, factors=ARMS[arm].factors, final_stage=final.identity, stages=stages)


def _described(folder: Path, **changes) -> dict:
    corpus = Corpus.open(folder)
    tagging = {"name": corpus.name, "digest": corpus.digest, "counts": corpus.manifest.counts, "place": str(folder)}
    arms = [{"name": arm, "factors": trial.factors} for arm, trial in ARMS.items()]
    described = {"name": "toy", "preset": "toy", "arms": arms, "seeds": [0], "comparisons": [], "groups": GROUPS}
    return described | {"corpora": {"tagging": tagging}} | changes


@pytest.mark.parametrize("backend", ["cnn", "ast"])
def test_a_configuration_comes_back_from_its_record(folders, backend):
    for trial in (REFERENCE, bare_trial(REFERENCE)):
        stage = final_stage(replace(trial, backend=backend), 0, recipe(), open_all(folders))
        form = json.loads(json.dumps(canonical(stage.config, with_legacy=True)))
        back = from_canonical(form, CONFIGS)
        assert type(back) is type(stage.config) and canonical(back) == canonical(stage.config)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"class": "Gone"}, "no configuration of the class 'Gone'"),
        ({"class": "MelConfig", "num_bands": 3}, "MelConfig has changed since: .*num_bands"),
    ],
)
def test_a_configuration_that_this_code_does_not_know_is_named(form, message):
    with pytest.raises(ValueError, match=message):
        from_canonical(form, CONFIGS)


def test_a_network_answers_as_it_did_in_its_test(trained, folders):
    corpus = Corpus.open(folders["tagging"])
    for row in Query(trained).run("SELECT stage, config FROM stages WHERE kind <> 'separation'").to_pylist():
        listener = TrainedTagger(trained, row["stage"], row["config"])
        sql = f"SELECT * FROM track_scores WHERE stage = '{row['stage']}'"
        recorded = {(one["track"], one["class"]): one["score"] for one in Query(trained).run(sql).to_pylist()}
        tracks, starts = corpus.tiles(corpus.indices("test"), listener.num_samples, 0.5)
        for track in np.unique(tracks):
            means = listener.probabilities(_segments(corpus, track, starts[tracks == track])).mean(axis=0)
            expected = [recorded[corpus.tracks["id"][track], tag] for tag in TAGS]
            assert np.allclose(means, expected, atol=1e-6)


def _segments(corpus: Corpus, track: int, starts: np.ndarray) -> torch.Tensor:
    return corpus.gather(np.full(len(starts), track), starts, SEGMENT)[:, 0]


def test_a_stage_without_a_classifier_is_refused(trained):
    (row,) = Query(trained).run("SELECT stage, config FROM stages WHERE kind = 'separation'").to_pylist()
    with pytest.raises(ValueError, match="SeparationStage trains no classifier"):
        TrainedTagger(trained, row["stage"], row["config"])


def test_the_largest_disagreements_are_shown_each_song_and_tag_once(trained):
    section = excerpts.section(Facts(trained), 4)
    assert section is not None
    figure, *audios, table = section.blocks
    assert isinstance(figure, Figure) and isinstance(table, Table)
    assert len(audios) == 2 and all(isinstance(one, Audio) for one in audios)  # two tags are in the study's groups
    sql = "SELECT track, class, stage, score FROM track_scores WHERE class IN ('slow', 'sung')"
    finals = {run["arm"]: run["final_stage"] for run in Facts(trained).runs}
    scores = {(row["stage"], row["track"], row["class"]): row["score"] for row in Query(trained).run(sql).to_pylist()}
    gaps = {
        (tag, track): abs(score - scores[finals["bare"], track, tag])
        for (stage, track, tag), score in scores.items()
        if stage == finals["reference"]
    }
    first = max(gaps, key=lambda key: gaps[key])
    second = max((key for key in gaps if key[0] != first[0] and key[1] != first[1]), key=lambda key: gaps[key])
    assert [(row[0].text, row[1].text) for row in table.rows] == [first, second]


def test_what_is_heard_is_the_song(trained, folders):
    section = excerpts.section(Facts(trained), 1)
    assert section is not None
    _, audio, table = section.blocks
    assert isinstance(audio, Audio) and isinstance(table, Table)
    with av.open(io.BytesIO(audio.mp3)) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    corpus = Corpus.open(folders["tagging"])
    track = int(np.flatnonzero(corpus.tracks["id"] == table.rows[0][1].text)[0])
    length = int(corpus.tracks["length"][track])
    song = corpus.gather(np.array([track]), np.array([0]), length)[0, 0].numpy()
    correlation = np.correlate(heard[: length + 4000].astype(np.float64), song.astype(np.float64), mode="valid").max()
    assert correlation > 0.5 * np.sqrt((heard.astype(np.float64) ** 2).sum() * (song.astype(np.float64) ** 2).sum())


def test_the_stretch_of_a_long_song_is_where_they_differ_most():
    centres = np.arange(2.0, 58.0)
    difference = np.where((centres > 30) & (centres < 38), 0.5, 0.1)
    begin = excerpts._begin(centres, difference, 60.0)
    assert begin <= 31 and begin + excerpts.EXCERPT_S >= 37
    assert excerpts._begin(np.arange(2.0, 6.0), np.ones(4), 8.0) == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"corpora": {}}, "the corpus of the songs is not recorded"),
        ({"place": "/nowhere"}, "/nowhere"),
        ({"digest": "0" * 64}, "holds another corpus than that of the study"),
    ],
)
def test_what_is_not_there_is_said(trained, folders, tmp_path, changes, message):
    store = Store(shutil.copytree(trained.location, tmp_path / "store"))
    described = _described(folders["tagging"])
    if "corpora" in changes:
        described |= changes
    else:
        described["corpora"]["tagging"] |= changes
    Records(store).write_study(described)
    section = excerpts.section(Facts(store), 4)
    assert section is not None and not section.blocks and message in section.says


def test_lost_weights_are_said(trained, tmp_path):
    store = Store(shutil.copytree(trained.location, tmp_path / "store"))
    for file in Path(store.location).glob("stages/*/attempts/*/weights.safetensors"):
        file.unlink()
    section = excerpts.section(Facts(store), 4)
    assert section is not None and not section.blocks and "Not shown: " in section.says


def test_a_study_without_two_networks_has_no_such_section(trained, folders, tmp_path):
    store = Store(shutil.copytree(trained.location, tmp_path / "store"))
    only = [{"name": "bare", "factors": ARMS["bare"].factors}]
    Records(store).write_study(_described(folders["tagging"], arms=only))
    assert excerpts.section(Facts(store), 4) is None
