"""Designs: the factors of a trial, the arms of a study, and how a trial becomes stages."""
