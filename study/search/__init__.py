"""Hyperparameter search: the space, who draws the next values, when to stop, and the winner."""
