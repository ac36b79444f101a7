"""The store: the results of stages and all that is kept, in a folder or a bucket."""
