"""What clients of the openmem dialect send. What is not read is ignored, as MemOS does."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from memos.server.compat.bodies import Count, Ids, Maybe, Name, Names, Text, Tree

_Documents = Annotated[list[Text], Field(min_length=1, max_length=1000)]


class SubjectIn(BaseModel):
    """Whose memories: a user's, or an agent's own."""

    user_id: Name | None = None
    agent_id: Name | None = None


class AddMessageIn(BaseModel):
    """``/add/message``."""

    messages: Annotated[list[Tree], Field(min_length=1)]
    user_id: Name | Names | None = None
    agent_id: Name | Names | None = None
    conversation_id: Maybe = None
    info: Tree | None = None
    source: Maybe = None
    app_id: Name | None = None
    tags: list[Text] | None = None


class GetMessageIn(BaseModel):
    """``/get/message``."""

    user_id: Name
    conversation_id: Maybe = None
    conversation_limit_number: Annotated[int, Field(ge=1, le=1000)] | None = None
    message_limit_number: Annotated[int, Field(ge=1, le=1000)] | None = None


class SearchMemoryIn(SubjectIn):
    """``/search/memory``."""

    query: Text
    conversation_id: Maybe = None
    memory_limit_number: Annotated[int, Field(ge=1, le=1000)] = 6
    include_preference: bool = True
    preference_limit_number: Count = 6
    include_tool_memory: bool = False
    tool_memory_limit_number: Count = 6
    include_skill: bool = False
    skill_limit_number: Count = 6
    filter: Tree | None = None
    relativity: Annotated[float, Field(ge=0)] | None = None


class GetMemoryIn(SubjectIn):
    """``/get/memory``."""

    include_preference: bool = True
    include_tool_memory: bool = True
    filter: Tree | None = None
    page: Annotated[int, Field(ge=1)] = 1
    size: Annotated[int, Field(ge=1, le=50)] = 10


class DeleteMemoryIn(SubjectIn):
    """``/delete/memory``."""

    memory_ids: Ids | None = None
    filter: Tree | None = None
    memory_type: Name | None = None


class UpdateMemoryIn(BaseModel):
    """``/update/memory``."""

    memory_id: Name
    content: Text | None = None
    title: Text | None = None
    status: Text | None = None


class RerankIn(BaseModel):
    """``/rerank``."""

    query: Text
    documents: _Documents
    top_n: Annotated[int, Field(ge=1)] | None = None


class TaskIn(BaseModel):
    """``/get/status``."""

    task_id: Name


class CloudChatIn(BaseModel):
    """``/chat``."""

    user_id: Name
    session_id: Name = Field(validation_alias="conversation_id")
    query: Text
    system_prompt: str | None = None
    filter: Tree | None = None
    add_message_on_answer: bool = True
    app_id: Name | None = None
    agent_id: Name | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    top_k: Annotated[int, Field(ge=1, le=1000, validation_alias="memory_limit_number")] = 6
    stream: bool = False
