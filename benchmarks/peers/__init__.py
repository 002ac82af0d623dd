"""MemOS beside its peers: the same data, the same vectors, each in an environment of its own."""
