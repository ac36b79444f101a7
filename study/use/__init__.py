"""Using what a study has learned: its finished networks, found by arm and seed, on anyone's songs."""
