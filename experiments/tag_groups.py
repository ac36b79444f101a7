"""Groups of tags that sources of music should help with, by the names that the corpora use.

A study shows of each group the tags that its corpus has, and leaves out a group of which it has none.
"""

from components.corpora.generated.content import DRUM_TAGS, VOCAL_TAGS

# As MagnaTagATune's fifty most frequent tags call them.
MAGNATAGATUNE_VOCALS = (
    *("vocal", "vocals", "singing", "voice", "choir", "choral", "female", "woman", "female vocal", "female voice"),
    *("male", "man", "male vocal", "male voice"),
)
MAGNATAGATUNE_DRUMS = ("drums", "beat", "beats")
TAG_GROUPS = {
    "vocal tags": tuple(dict.fromkeys((*VOCAL_TAGS, *MAGNATAGATUNE_VOCALS))),
    "drum tags": tuple(dict.fromkeys((*DRUM_TAGS, *MAGNATAGATUNE_DRUMS))),
}
