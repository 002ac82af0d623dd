"""Adapters for stores; loaded by entry point, never imported by the core."""
