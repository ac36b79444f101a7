"""Corpora: where each of them comes from and how it becomes a waveform and a track table."""
