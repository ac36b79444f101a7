"""Designs: a trial's factors, a study's arms, and how a trial becomes stages."""
