"""Objectives: what networks are trained for, and what they are scored by."""
