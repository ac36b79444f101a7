"""Hyperparameter search: what may be varied, who asks for the next values, and what comes of it."""
