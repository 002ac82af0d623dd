"""From an exported conversation to messages: ChatGPT's and Claude's forms, and plain messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, TypeAlias, cast

from memos.errors import InvalidInput

Format: TypeAlias = Literal["chatgpt", "claude", "messages", "markdown"]
Message: TypeAlias = dict[str, object]
_SPOKEN: Final = frozenset({"user", "assistant"})
_CLAUDE_ROLES: Final = {"human": "user", "assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class Conversation:
    """One exported conversation.

    Attributes:
        id: The session that its messages become.
        title: What its program called it.
        messages: OpenAI-style messages with ids, and times where they are known.
    """

    id: str
    title: str | None
    messages: list[Message]


def form_of(value: object) -> Format | None:
    """Return which form an entry of a JSON export has."""
    if not isinstance(value, Mapping):
        return None
    if "mapping" in value:
        return "chatgpt"
    if "chat_messages" in value:
        return "claude"
    if "messages" in value or "role" in value:
        return "messages"
    return None


def chatgpt(value: object, where: str) -> Conversation:
    """Read a conversation of ChatGPT: the branch that leads to its current node.

    Raises:
        InvalidInput: It is malformed.
    """
    fields = _object(value, where)
    nodes = _object(fields.get("mapping"), f"{where}.mapping")
    messages: list[Message] = []
    for id in _branch(nodes, fields.get("current_node"), where):
        message = _object(nodes[id], f"{where}.mapping").get("message")
        if message is not None:
            messages += _chatgpt_message(_object(message, f"{where}.mapping"), id)
    named = fields.get("conversation_id") or fields.get("id") or where
    return Conversation(str(named), _title(fields.get("title")), messages)


def _branch(nodes: Mapping[str, object], current: object, where: str) -> list[str]:
    """Return the ids from the root to the current node, which is the last one when not named."""
    id = (
        current
        if isinstance(current, str) and current in nodes
        else next(reversed(list(nodes)), None)
    )
    path: list[str] = []
    seen: set[str] = set()
    while isinstance(id, str) and id in nodes:
        if id in seen:
            raise InvalidInput(f"{where}: its messages form a circle", code="invalid_export")
        seen.add(id)
        path.append(id)
        id = _object(nodes[id], where).get("parent")
    return path[::-1]


def _chatgpt_message(message: Mapping[str, object], node: str) -> Iterator[Message]:
    role = _object(message.get("author") or {}, node).get("role")
    metadata = _object(message.get("metadata") or {}, node)
    content = _object(message.get("content") or {}, node)
    if role not in _SPOKEN or metadata.get("is_visually_hidden_from_conversation"):
        return
    parts = content.get("parts", [content.get("text", "")])
    texts = [_part(part) for part in cast("Sequence[object]", parts)]
    text = "\n".join(text for text in texts if text)
    if text.strip():
        yield _message(str(role), text, message.get("id") or node, message.get("create_time"))


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return ""
    fields = cast("Mapping[str, object]", part)
    if isinstance(fields.get("text"), str):
        return str(fields["text"])
    kind = str(fields.get("content_type") or "attachment")
    return f"[{kind.removesuffix('_asset_pointer')}]"


def claude(value: object, where: str) -> Conversation:
    """Read a conversation of Claude.

    Raises:
        InvalidInput: It is malformed.
    """
    fields = _object(value, where)
    messages: list[Message] = []
    for index, entry in enumerate(_listed(fields.get("chat_messages"), where)):
        message = _object(entry, f"{where}.chat_messages[{index}]")
        role = _CLAUDE_ROLES.get(str(message.get("sender")))
        text = _claude_text(message)
        if role and text.strip():
            named = message.get("uuid") or index
            messages.append(_message(role, text, named, message.get("created_at")))
    named = fields.get("uuid") or where
    return Conversation(str(named), _title(fields.get("name")), messages)


def _claude_text(message: Mapping[str, object]) -> str:
    content = message.get("content")
    blocks = cast("list[object]", content) if isinstance(content, list) else []
    fields = [cast("Mapping[str, object]", b) for b in blocks if isinstance(b, Mapping)]
    said = [str(b["text"]) for b in fields if b.get("type") == "text" and b.get("text")]
    texts = said or [str(message.get("text") or "")]
    attachments = message.get("attachments")
    for entry in cast("list[object]", attachments) if isinstance(attachments, list) else []:
        if isinstance(entry, Mapping):
            file = cast("Mapping[str, object]", entry)
            texts += [
                f"[{file.get('file_name') or 'file'}]",
                str(file.get("extracted_content") or ""),
            ]
    return "\n".join(text for text in texts if text)


def plain(value: object, where: str) -> Conversation:
    """Read messages, or an object with ``messages``, in OpenAI's style.

    Messages without ids get one from their place and content, so that they are known again.

    Raises:
        InvalidInput: It is malformed.
    """
    fields: Mapping[str, object] = {}
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, object]", value)
        value = fields.get("messages")
    messages: list[Message] = []
    for index, entry in enumerate(_listed(value, where)):
        message = dict(_object(entry, f"{where}[{index}]"))
        message.pop("session", None)
        if message.get("message_id") is None:
            named = message.pop("id", None)
            told = f"{message.get('role')}\n{message.get('content')}".encode("utf-8", "replace")
            message["message_id"] = named or f"{index}-{sha256(told).hexdigest()[:16]}"
        messages.append(message)
    named = fields.get("session") or fields.get("id") or where
    return Conversation(str(named), _title(fields.get("title")), messages)


def _message(role: str, text: str, id: object, at: object) -> Message:
    message: Message = {"role": role, "content": text.replace("\x00", ""), "message_id": str(id)}
    if at is not None:
        message["chat_time"] = at
    return message


def _title(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _object(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidInput(
            f"{where}: expected an object, got {type(value).__name__}", code="invalid_export"
        )
    return cast("Mapping[str, object]", value)


def _listed(value: object, where: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise InvalidInput(
            f"{where}: expected a list, got {type(value).__name__}", code="invalid_export"
        )
    return cast("list[object]", value)
