"""MemOS over HTTP."""
