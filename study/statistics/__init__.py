"""Statistics: what seeds and test tracks can show. It needs NumPy and SciPy only."""
