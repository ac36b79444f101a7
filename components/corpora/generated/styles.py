"""Nine styles: joint habits of tempo, instruments, harmony and rhythm. A style is a track's genre."""

from dataclasses import dataclass

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
DORIAN = (0, 2, 3, 5, 7, 9, 10)
MIXOLYDIAN = (0, 2, 4, 5, 7, 9, 10)
PHRYGIAN_DOMINANT = (0, 1, 4, 5, 7, 8, 10)

ACCOMPANIMENT = ("guitar", "piano", "synth", "strings")
LEADS = ("violin", "flute", "sitar")


@dataclass(frozen=True, kw_only=True)
class Style:
    """Probabilities and patterns of one style.

    `chords` and `bass_line` are bars of eight eighths, `kick`, `snare` and `hat` of sixteen sixteenths; `x` is a hit.
    Hats reach odd sixteenths in every style, so that swing can be heard wherever there are drums.
    """

    name: str
    slow: float
    fast: float
    loud: float
    quiet: float
    bass: float
    accompaniment: tuple[float, float, float, float]  # guitar, piano, synth, strings
    leads: tuple[float, float, float]  # violin, flute, sitar, given that there is a lead
    scale: tuple[int, ...]
    progressions: tuple[tuple[int, ...], ...]  # scale degrees, one chord a bar
    chords: str
    bass_line: str
    bass_timbres: tuple[str, ...]
    kick: str
    snare: str
    hat: str


AMBIENT = Style(
    name="ambient", slow=0.7, fast=0.05, loud=0.0, quiet=0.6,
    bass=0.35, accompaniment=(0.1, 0.3, 0.9, 0.5), leads=(0.3, 0.4, 0.3),
    scale=DORIAN, progressions=((0, 0, 3, 3), (0, 6, 3, 0)),
    chords="x.......", bass_line="x.......", bass_timbres=("sub",),
    kick="x...............", snare="........x.......", hat="...x..x....x..x.",
)  # fmt: skip
CLASSICAL = Style(
    name="classical", slow=0.35, fast=0.25, loud=0.15, quiet=0.4,
    bass=0.25, accompaniment=(0.1, 0.5, 0.0, 0.9), leads=(0.55, 0.3, 0.15),
    scale=MAJOR, progressions=((0, 3, 4, 0), (0, 5, 1, 4)),
    chords="x.xxx.xx", bass_line="x...x...", bass_timbres=("pluck",),
    kick="x.......x.......", snare="............x.xx", hat="x...x..xx...x..x",
)  # fmt: skip
COUNTRY = Style(
    name="country", slow=0.15, fast=0.45, loud=0.25, quiet=0.15,
    bass=0.8, accompaniment=(0.95, 0.3, 0.05, 0.15), leads=(0.5, 0.3, 0.2),
    scale=MIXOLYDIAN, progressions=((0, 0, 3, 0), (0, 3, 0, 4)),
    chords="..x...x.", bass_line="x...x...", bass_timbres=("pluck",),
    kick="x.......x.......", snare="....x..x....x..x", hat="x.xxx.xxx.xxx.xx",
)  # fmt: skip
FOLK = Style(
    name="folk", slow=0.4, fast=0.2, loud=0.05, quiet=0.4,
    bass=0.4, accompaniment=(0.9, 0.2, 0.05, 0.4), leads=(0.35, 0.4, 0.25),
    scale=DORIAN, progressions=((0, 6, 0, 3), (0, 3, 6, 0)),
    chords="xxxxxxxx", bass_line="x.....x.", bass_timbres=("pluck",),
    kick="x.....x...x.....", snare="........x.......", hat="x..xx.x.x..xx.x.",
)  # fmt: skip
INDIAN = Style(
    name="indian", slow=0.45, fast=0.2, loud=0.1, quiet=0.3,
    bass=0.35, accompaniment=(0.3, 0.1, 0.25, 0.4), leads=(0.1, 0.2, 0.7),
    scale=PHRYGIAN_DOMINANT, progressions=((0, 0, 0, 0), (0, 0, 1, 0)),
    chords="x..x..x.", bass_line="x..x..x.", bass_timbres=("pluck", "sub"),
    kick="x..x..x...x.....", snare="....x......x..x.", hat="x.x..x.xx.x..x.x",
)  # fmt: skip
JAZZ = Style(
    name="jazz", slow=0.3, fast=0.4, loud=0.1, quiet=0.3,
    bass=0.9, accompaniment=(0.4, 0.9, 0.1, 0.1), leads=(0.3, 0.45, 0.25),
    scale=MAJOR, progressions=((1, 4, 0, 5), (0, 5, 1, 4)),
    chords="x..x....", bass_line="x.x.x.x.", bass_timbres=("pluck",),
    kick="x.........x.....", snare="......x.......x.", hat="x...x..xx...x..x",
)  # fmt: skip
POP = Style(
    name="pop", slow=0.2, fast=0.25, loud=0.35, quiet=0.1,
    bass=0.8, accompaniment=(0.5, 0.5, 0.6, 0.3), leads=(0.35, 0.3, 0.35),
    scale=MAJOR, progressions=((0, 4, 5, 3), (5, 3, 0, 4)),
    chords="x.x.x.x.", bass_line="x..xx..x", bass_timbres=("saw", "fm", "pluck"),
    kick="x.....x.x.x.....", snare="....x.......x...", hat="x.x.x.xxx.x.x.xx",
)  # fmt: skip
ROCK = Style(
    name="rock", slow=0.1, fast=0.5, loud=0.7, quiet=0.05,
    bass=0.9, accompaniment=(0.95, 0.2, 0.2, 0.1), leads=(0.4, 0.2, 0.4),
    scale=MINOR, progressions=((0, 5, 6, 0), (0, 2, 6, 3)),
    chords="xxxxxxxx", bass_line="xxxxxxxx", bass_timbres=("saw", "pluck"),
    kick="x..x....x.x.....", snare="....x.......x...", hat="x.x.x.x.x.xxx.x.",
)  # fmt: skip
TECHNO = Style(
    name="techno", slow=0.0, fast=0.7, loud=0.6, quiet=0.05,
    bass=0.8, accompaniment=(0.05, 0.15, 0.95, 0.25), leads=(0.3, 0.35, 0.35),
    scale=MINOR, progressions=((0, 0, 5, 5), (0, 0, 0, 6)),
    chords="x..x..x.", bass_line=".x.x.x.x", bass_timbres=("saw", "fm"),
    kick="x...x...x...x...", snare="....x.......x...", hat="..xx..xx..xx..xx",
)  # fmt: skip

STYLES = (AMBIENT, CLASSICAL, COUNTRY, FOLK, INDIAN, JAZZ, POP, ROCK, TECHNO)
GENRES = tuple(style.name for style in STYLES)
