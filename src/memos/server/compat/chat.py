"""The chat routes of the product and openmem dialects.

``POST /product/chat`` is in both: the first product API streamed there, and clients of openmem find
their chat below the prefix ``/product`` too. Those always name a ``conversation_id``.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Body, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from memos.server.audited import Audited
from memos.server.compat.bodies import ChatIn, Tree
from memos.server.compat.callers import Calling, Openmem, Product
from memos.server.compat.cloudbodies import CloudChatIn
from memos.server.compat.conversations import FIRST, PLAIN, PLAYGROUND, streamed, whole
from memos.server.compat.envelopes import ok, written
from memos.server.compat.items import item
from memos.server.deps import Visit

M = TypeVar("M", bound=BaseModel)
product: Final = APIRouter(prefix="/product", include_in_schema=False, route_class=Audited)
openmem: Final = APIRouter(include_in_schema=False, route_class=Audited)


@product.post("/chat/complete")
async def complete(visit: Product, body: ChatIn) -> Response:
    """Answer whole; as in MemOS, this envelope has no code."""
    result = await whole(visit, body)
    data = {
        "response": result.text,
        "reasoning": result.reasoning,
        "references": [item(memory) for memory in result.memories],
    }
    return written({"message": "Chat completed successfully", "data": data})


@product.post("/chat/stream")
async def stream(visit: Product, body: ChatIn) -> Response:
    """Answer piece by piece: ``reasoning`` and ``text``."""
    return await streamed(visit, body, PLAIN)


@product.post("/chat/stream/playground")
async def playground(visit: Product, body: ChatIn) -> Response:
    """Answer piece by piece, with what was recalled and how far it is."""
    return await streamed(visit, body, PLAYGROUND)


@product.post("/chat")
async def either(request: Request, body: Annotated[Tree, Body()]) -> Response:
    """Answer in the dialect that the body is written in."""
    if "conversation_id" in body:
        visit = await Calling("openmem")(request)
        return await _talk(visit, _read(CloudChatIn, body))
    visit = await Calling("product")(request)
    return await streamed(visit, _read(ChatIn, body), FIRST)


@openmem.post("/chat")
async def talk(visit: Openmem, body: CloudChatIn) -> Response:
    """Answer whole, or piece by piece with ``stream``."""
    return await _talk(visit, body)


async def _talk(visit: Visit, body: CloudChatIn) -> Response:
    if body.stream:
        return await streamed(visit, body, PLAIN)
    return ok({"response": (await whole(visit, body)).text})


def _read(model: type[M], body: Tree) -> M:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(found) from None
