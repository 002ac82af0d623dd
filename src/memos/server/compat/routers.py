"""The routers of the dialects, in the order in which paths are looked up."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from memos.server.compat import chat, openmem, people, product, scheduler, start
from memos.server.compat.envelopes import OPENMEM, PRODUCT


def _under(prefix: str, router: APIRouter) -> APIRouter:
    placed = APIRouter(prefix=prefix, include_in_schema=False)
    placed.include_router(router)
    return placed


DIALECT_ROUTERS: Final[tuple[APIRouter, ...]] = (
    product.router,
    people.router,
    scheduler.router,
    start.router,
    chat.product,  # before openmem's: who asks POST /product/chat shows in the body
    *(_under(prefix, openmem.router) for prefix in (*OPENMEM, PRODUCT)),
    *(_under(prefix, chat.openmem) for prefix in OPENMEM),
)
