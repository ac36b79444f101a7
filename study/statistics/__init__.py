"""Statistics: what seeds and test tracks can show. NumPy and SciPy alone."""
