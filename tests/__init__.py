"""Tests mirror the tree; `benchmarks/` holds measurements."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
