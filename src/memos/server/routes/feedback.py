"""``/v1/feedback``: what somebody says about memories."""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Final

from fastapi.responses import Response

from memos import feedback
from memos import options as opt
from memos.errors import InvalidInput
from memos.feedback import Said
from memos.server.deps import IdempotencyKey, Visiting, native
from memos.server.replies import problems, reply
from memos.server.schemas import FeedbackIn, FeedbackOut

router: Final = native("feedback")


@router.post("/feedback", status_code=202, response_model=FeedbackOut, responses=problems(409))
async def give(
    visit: Visiting, body: FeedbackIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Store feedback durably; nothing applies it yet, so no memory changes."""
    options = await visit.options(body.model_dump(exclude_none=True))
    cube = str(options.get("cube") or options["user"])
    scope = await visit.gate.scope(options["user"], [cube], "write")
    records = visit.tenants.engine.store.records
    if records is None:
        raise InvalidInput("the store keeps no records", code="no_transfer")
    said = Said(
        id=_id(scope.account, cube, idempotency_key),
        text=opt.text(body.text, "text"),
        memories=tuple(dict.fromkeys(body.memories)),
        session=opt.name(body.session, "session"),
    )
    await feedback.keep(records, scope, cube, said)
    return reply({"id": said.id, "status": "stored"}, 202)


def _id(account: str, cube: str, key: str | None) -> str:
    """Return an id; a key of one cube gives the same one again, and no other cube's."""
    if key is None:
        return f"feedback-{secrets.token_hex(16)}"
    parts = f"{account}\x00{cube}\x00{key}"
    return f"feedback-{sha256(parts.encode()).hexdigest()[:32]}"
