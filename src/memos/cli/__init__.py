"""The command ``memos``: the public API from a terminal."""
