"""Networks: the separator, the backends, the adapters between them, and how their weights start."""
