"""MemOS's three wire dialects, as a thin translation over the public API.

*product* (``/product/*``) is what MemOS's own server speaks, *openmem* (``/api/openmem/v1/*`` and
two more prefixes) what its package's client and plugins speak, *start* (``/memories``, ``/search``,
...) what its first server spoke. Nothing below the server knows of them. ``docs/compat.md`` says
route by route what works, what differs, and what answers 501.
"""
