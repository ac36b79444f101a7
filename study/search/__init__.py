"""Searches: which hyperparameters an arm is trained with, found by Optuna."""
