"""Adapters for models; loaded by entry point, never imported by the core."""
