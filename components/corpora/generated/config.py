"""The generated corpus's configuration: how many songs of which length, and how often their parts sound."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["separation", "tagging", "genre"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SPLITS = ("train", "validation", "test")
MIN_TRACKS = 12  # fewer leave a tag or a genre without a positive


@dataclass(frozen=True, kw_only=True)
class GeneratedConfig:
    """Everything that decides the generated music; equal configurations give equal corpora, sample by sample.

    `label_noise` is the share of a tag's positives (of a genre's tracks) in train and validation that carry a wrong
    label. `presence` is the probability of vocals, of drums and of a lead in a labelled track; `stem_presence` that of
    vocals and of drums in a song of the separation corpus, where a lead still has `presence`.
    """

    seed: int = 0
    song_s: float = 8.0
    num_songs: int = 400
    num_held_out_songs: int = 16  # in each of validation and test, out of num_songs
    num_train: int = 192
    num_validation: int = 120
    num_test: int = 400
    label_noise: float = 0.02
    presence: float = 0.5
    stem_presence: float = 0.85

    def __post_init__(self):
        if self.song_s < 2.0:
            raise ValueError(f"song_s={self.song_s}: a song needs at least 2 s to hold a phrase")
        if not 1 <= self.num_held_out_songs < self.num_songs / 2:
            raise ValueError(
                f"num_held_out_songs={self.num_held_out_songs}: validation and test take as many each and must leave "
                f"songs to train on; allowed 1 to below half of num_songs={self.num_songs}"
            )
        self._check_labelled_splits()
        self._check_rates()

    def _check_labelled_splits(self):
        for field in ("num_train", "num_validation", "num_test"):
            if getattr(self, field) < MIN_TRACKS:
                raise ValueError(
                    f"{field}={getattr(self, field)}: fewer than {MIN_TRACKS} tracks leave a tag without a positive"
                )

    def _check_rates(self):
        allowed = {"label_noise": (0.0, 0.5), "presence": (0.4, 0.8), "stem_presence": (0.4, 1.0)}
        for field, (low, high) in allowed.items():
            if not low <= getattr(self, field) <= high:
                raise ValueError(f"{field}={getattr(self, field)}: allowed {low} to {high}")

    def split_sizes(self, kind: str) -> dict[str, int]:
        """Number of songs or tracks per split, in the order in which a corpus holds them."""
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r}: allowed {', '.join(KINDS)}")
        if kind != "separation":
            return {"train": self.num_train, "validation": self.num_validation, "test": self.num_test}
        held_out = self.num_held_out_songs
        return {"train": self.num_songs - 2 * held_out, "validation": held_out, "test": held_out}


def tiny(*, seed: int = 0) -> GeneratedConfig:
    """A configuration for tests: generated in seconds, every tag and genre still has positives in every split."""
    return GeneratedConfig(
        seed=seed, song_s=3.0, num_songs=16, num_held_out_songs=3, num_train=24, num_validation=12, num_test=12
    )
