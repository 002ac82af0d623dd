"""MemCubes outside their store: dumps, archives, and where they come from."""
