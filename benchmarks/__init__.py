"""Measures of MemOS: how well it recalls, and how fast it is. Not part of the package."""
