"""The native API, a module per resource."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from memos.server.routes import (
    audit,
    chat,
    cubes,
    feedback,
    health,
    jobs,
    memories,
    people,
    transfers,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    health.router,
    memories.router,
    chat.router,
    feedback.router,
    jobs.router,
    cubes.router,
    transfers.router,
    people.router,
    audit.router,
)
