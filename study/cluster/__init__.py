"""The cluster: everything that knows Ray."""
