"""Stages: what a stage computes, its identity, the graph of stages and parents, and the progress of each one."""
