"""Talking with a model that remembers."""
