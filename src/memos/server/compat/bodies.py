"""What clients of the product dialect send. What is not read is ignored, as MemOS does."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

Json = Any
Tree = dict[str, Json]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(min_length=1, max_length=512)]
Maybe = Annotated[str | None, Field(max_length=512)]
Names = Annotated[list[Name], Field(max_length=100)]
Ids = Annotated[list[Name], Field(min_length=1, max_length=10_000)]
Count = Annotated[int, Field(ge=0, le=1000)]
Conversation = Field(default=None, validation_alias=AliasChoices("session_id", "conversation_id"))


class SearchIn(BaseModel):
    """``/product/search``."""

    query: Text
    user_id: Name
    readable_cube_ids: Names | None = None
    mem_cube_id: Name | None = None
    mode: Literal["fast", "fine", "mixture"] = "fast"
    top_k: Annotated[int, Field(ge=1, le=1000)] = 10
    relativity: Annotated[float, Field(ge=0)] = 0.45
    dedup: Literal["no", "sim", "mmr"] | None = "mmr"
    rerank: bool = True
    include_preference: bool = True
    pref_top_k: Count = 6
    search_tool_memory: bool = True
    tool_mem_top_k: Count = 6
    include_skill_memory: bool = True
    skill_mem_top_k: Count = 3
    filter: Tree | None = None
    search_memory_type: str = "All"
    reference_time: str | None = None
    session_id: Maybe = Conversation
    internet_search: bool = False
    neighbor_discovery: bool = False


class AddIn(BaseModel):
    """``/product/add``."""

    user_id: Name | None = None
    session_id: Maybe = Conversation
    task_id: Maybe = None
    manager_user_id: Maybe = None
    project_id: Maybe = None
    writable_cube_ids: Names | None = None
    mem_cube_id: Name | None = None
    async_mode: Literal["async", "sync"] = "async"
    mode: Literal["fast", "fine"] | None = None
    custom_tags: list[Text] | None = None
    info: Tree | None = None
    messages: str | list[Tree] | None = None
    memory_content: str | None = None
    doc_path: str | None = None
    source: Maybe = None
    is_feedback: bool = False
    is_upload_skill: bool = False


class ChatIn(BaseModel):
    """``/product/chat/complete``, ``/product/chat/stream``, and what they were before."""

    user_id: Name
    query: Text
    readable_cube_ids: Names | None = None
    writable_cube_ids: Names | None = None
    mem_cube_id: Name | None = None
    history: list[Tree] | None = None
    mode: Literal["fast", "fine", "mixture"] | None = None
    system_prompt: str | None = Field(
        default=None, validation_alias=AliasChoices("system_prompt", "base_prompt")
    )
    top_k: Annotated[int, Field(ge=1, le=1000)] = 10
    session_id: Maybe = Conversation
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    add_message_on_answer: bool = True
    filter: Tree | None = None
    tags: list[Text] | None = None
    agent_id: Name | None = None
    app_id: Name | None = None


class DashboardIn(BaseModel):
    """``/product/get_memory_dashboard``."""

    mem_cube_id: Name | None = None
    user_id: Name | None = None
    include_preference: bool = True
    include_tool_memory: bool = True
    include_skill_memory: bool = True
    filter: Tree | None = None
    page: Annotated[int, Field(ge=1)] | None = None
    page_size: Annotated[int, Field(ge=1, le=1000)] | None = None


class ListIn(DashboardIn):
    """``/product/get_memory``, where the cube must be named."""

    @model_validator(mode="after")
    def _names_a_cube(self) -> Self:
        if self.mem_cube_id is None:
            raise PydanticCustomError("missing", "mem_cube_id: Field required")
        return self


class GetAllIn(BaseModel):
    """``/product/get_all``."""

    user_id: Name
    memory_type: Literal["text_mem", "act_mem", "param_mem", "para_mem"]
    mem_cube_ids: Names | None = None
    search_query: str | None = None


class DeleteIn(BaseModel):
    """``/product/delete_memory``."""

    writable_cube_ids: Names | None = None
    memory_ids: Ids | None = None
    file_ids: Ids | None = None
    filter: Tree | None = None
    user_id: Name | None = None
    session_id: Name | None = None
    conversation_id: Name | None = None


class CreateCubeIn(BaseModel):
    """``/product/create_cube``."""

    cube_name: Name
    owner_id: Name
    cube_id: Name | None = None
    cube_path: str | None = None


class RegisterCubeIn(BaseModel):
    """``/product/register_cube``."""

    mem_cube_name_or_path: Name
    mem_cube_id: Name | None = None
    user_id: Name | None = None


class IdsIn(BaseModel):
    """``/product/get_user_names_by_memory_ids``."""

    memory_ids: Ids


class CubeIn(BaseModel):
    """``/product/exist_mem_cube_id``."""

    mem_cube_id: Name


class RegisterUserIn(BaseModel):
    """``/product/users/register``."""

    user_id: Name | None = None
    user_name: Name | None = None
    mem_cube_id: Name | None = None
