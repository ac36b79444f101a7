"""The store: what is done and kept, in a folder or a bucket."""
