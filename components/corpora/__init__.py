"""Corpora: sound in, segments out; data sets as they are downloaded, and the generated corpora."""
