"""Stages: what is computed, the identity it is known by, the graph of what needs what, and how far each one is."""
