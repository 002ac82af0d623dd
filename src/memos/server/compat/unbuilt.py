"""What MemOS has and this server has not yet: routes that answer 501, and why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Final

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from memos.errors import MemosError
from memos.server.compat.callers import Calling
from memos.server.compat.envelopes import Dialect


class NotBuilt(MemosError):
    """The call asks for something that is not built yet."""

    default_code = "not_built_yet"
    status: ClassVar[int] = 501


FEEDBACK: Final = "feedback is not applied yet; POST /v1/feedback keeps it until it is"
KNOWLEDGE: Final = "knowledge bases and their files are not built yet; add texts as memories"
PROFILES: Final = "profiles are not built yet"
SKILLS: Final = "skills are not read from uploads yet"
SETTINGS: Final = "settings belong to the server, not to users; see 'memos config'"
UNBUILT: Final[Sequence[tuple[Dialect, str, str, str]]] = (
    ("product", "POST", "/feedback", FEEDBACK),
    ("product", "POST", "/suggestions", "suggestions are not made yet"),
    ("product", "GET", "/suggestions/{user_id}", "suggestions are not made yet"),
    ("product", "POST", "/delete_memory_by_record_id", "records of deletions are not kept"),
    ("product", "POST", "/recover_memory_by_record_id", "what is deleted here is erased"),
    ("product", "POST", "/chat/stream/business_user", "there are no business keys; use API keys"),
    ("product", "POST", "/dream/trigger/cube", "dreams are not built yet"),
    ("product", "POST", "/dream/diary", "dreams are not built yet"),
    ("product", "GET", "/dream/diary/health", "dreams are not built yet"),
    ("product", "POST", "/configure", SETTINGS),
    ("product", "GET", "/configure/{user_id}", SETTINGS),
    ("product", "GET", "/users/{user_id}/config", SETTINGS),
    ("product", "PUT", "/users/{user_id}/config", SETTINGS),
    ("openmem", "POST", "/add/feedback", FEEDBACK),
    ("openmem", "POST", "/extract/memory", "nothing is extracted by a model yet"),
    ("openmem", "POST", "/create/knowledgebase", KNOWLEDGE),
    ("openmem", "POST", "/delete/knowledgebase", KNOWLEDGE),
    ("openmem", "POST", "/add/knowledgebase-file", KNOWLEDGE),
    ("openmem", "POST", "/delete/knowledgebase-file", KNOWLEDGE),
    ("openmem", "POST", "/get/knowledgebase-file", KNOWLEDGE),
    ("openmem", "POST", "/bind/profile_template", PROFILES),
    ("openmem", "POST", "/edit/profile", PROFILES),
    ("openmem", "POST", "/delete/profile", PROFILES),
    ("start", "POST", "/configure", SETTINGS),
)
"""Dialect, method, path below its prefix, and the reason."""


def add_unbuilt(router: APIRouter, dialect: Dialect) -> None:
    """Let ``router`` refuse, of those who may call at all, what the dialect has and we have not."""
    for owner, method, path, why in UNBUILT:
        if owner == dialect:
            guard = Depends(Calling(dialect))
            router.add_api_route(path, _refusing(why), methods=[method], dependencies=[guard])


def _refusing(why: str) -> Callable[[], Awaitable[Response]]:
    async def refuse() -> Response:
        raise NotBuilt(why)

    return refuse
