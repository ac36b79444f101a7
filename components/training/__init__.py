"""Training: the one loop of every stage, its phases, its checkpoints, its workers."""
