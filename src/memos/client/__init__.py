"""A client of ``memos serve``: the methods of ``MOS``, over HTTP.

It gives and raises what ``MOS`` does, and loads nothing of the engine.
"""

from __future__ import annotations

from memos.client.asynchronous import AsyncClient
from memos.client.blocking import Client
from memos.client.retry import Retries
from memos.client.values import AddedOne, Key, NewKey

__all__ = ["AddedOne", "AsyncClient", "Client", "Key", "NewKey", "Retries"]
