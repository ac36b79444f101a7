"""MUSDB18 and MUSDB18-HQ: songs with four stems (Rafii et al., 2017 and 2019), in the splits of the musdb package.

The package gives the streams, the files' names and the validation list. Its decoder, a program that must be installed
separately, is not needed: these files are decoded like all others.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from components.corpora.data_set import AudioStream, DataSet, DataSetTrack, required_paths, unlisted_files

STEMS = ("mixture", "drums", "bass", "other", "vocals")
EXPECTED = {"train": 86, "validation": 14, "test": 50}
_SUFFIX = ".stem.mp4"


def musdb18(source: str | Path, *, hq: bool = False) -> DataSet:
    """The songs below `source`, which holds `train` and `test`; `hq`: a folder of wav files for each song.

    Raises:
        FileNotFoundError: no such folder, or not these two in it.
    """
    facts = _facts()
    tracks, rejects = [], []
    for folder in required_paths(source, "train", "test"):
        beside = [] if hq else unlisted_files(folder, set(folder.glob(f"*{_SUFFIX}")), "*.mp4")
        rejects += [(path.name, f"no {_SUFFIX}") for path in beside]
        for place in sorted(folder.iterdir() if hq else folder.glob(f"*{_SUFFIX}")):
            if hq and not place.is_dir():
                continue
            name = place.name.removesuffix(_SUFFIX)
            is_held_out = folder.name == "train" and name in facts["validation_tracks"]
            audio = _wavs(place, facts) if hq else {s: AudioStream(place, facts["stem_ids"][s]) for s in STEMS}
            missing = [stem for stem, stream in audio.items() if not stream.path.exists()]
            if missing:
                rejects.append((name, f"no {audio[missing[0]].path.name}"))
            else:
                split = "validation" if is_held_out else folder.name
                tracks.append(DataSetTrack(id=name, audio=audio, split=split))
    if not tracks and not rejects:
        other = (
            "no folder of a song; are these .stem.mp4 files? Then without --hq"
            if hq
            else (f"no *{_SUFFIX}; is this the release of wav files? Then with --hq")
        )
        raise FileNotFoundError(f"{source}: train and test hold {other}")
    return DataSet(
        name="musdb18-hq" if hq else "musdb18",
        kind="separation",
        tracks=tracks,
        stems=STEMS,
        rejects=rejects,
        expected=EXPECTED,
        recipe={"hq": hq},
    )


def _wavs(folder: Path, facts: dict[str, Any]) -> dict[str, AudioStream]:
    names = {"mixture": facts["mixture"], **facts["sources"]}
    return {stem: AudioStream(folder / names[stem]) for stem in STEMS}


def _facts() -> dict[str, Any]:
    """The package's own description; importing the package would need its decoder."""
    spec = find_spec("musdb")
    assert spec is not None and spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "configs" / "mus.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))
