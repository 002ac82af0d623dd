"""Shipped test doubles, contract suites and strategies, for us and for authors of adapters.

The suites need ``pytest`` and ``anyio``'s plugin, the strategies ``hypothesis``.
"""
