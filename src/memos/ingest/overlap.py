"""Recognising a conversation that is sent again from its beginning. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from memos.types import Memory


def repeated(tail: Sequence[Memory], drafts: Sequence[Memory]) -> int:
    """Return how many of the first ``drafts`` repeat the end of the session.

    Clients resend the whole conversation with every turn: its beginning then equals the stored
    end. One message alone is never taken for a repetition: saying "yes" twice is saying it twice.
    """
    if len(drafts) <= 1:
        return 0
    return next(
        (
            length
            for length in range(min(len(tail), len(drafts)), 0, -1)
            if all(map(_same, tail[len(tail) - length :], drafts[:length]))
        ),
        0,
    )


def _same(stored: Memory, draft: Memory) -> bool:
    if stored.text != draft.text or stored.speaker != draft.speaker:
        return False
    before = stored.sources[0] if stored.sources else None
    now = draft.sources[0] if draft.sources else None
    if before is None or now is None or before.role != now.role or before.start != now.start:
        return False
    alike = before.at is None or now.at is None or before.at == now.at
    return alike and (before.id is None or now.id is None or before.id == now.id)
