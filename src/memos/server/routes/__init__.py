"""The native API, a module per resource."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from memos.server.routes import health, memories

ROUTERS: Final[tuple[APIRouter, ...]] = (health.router, memories.router)
