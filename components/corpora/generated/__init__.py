"""Generated corpora: music synthesised from a seed, with stems, tags and genres. Never recordings."""

from components.corpora.generated.config import GeneratedConfig, tiny
from components.corpora.generated.corpora import genre_corpus, recipe_of, separation_corpus, tagging_corpus

__all__ = ["GeneratedConfig", "genre_corpus", "recipe_of", "separation_corpus", "tagging_corpus", "tiny"]
