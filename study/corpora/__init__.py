"""Corpora: the audio that stages train on, opened, generated, decoded or copied to each machine."""
