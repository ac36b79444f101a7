"""The campaign: tiny studies on a cluster of two nodes, killed at random moments, that must end as if undisturbed."""
