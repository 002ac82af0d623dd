"""Which of our models stand for those that MemOS's configuration names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CHATS: Final[Mapping[str, tuple[str, str | None]]] = {
    "openai": ("openai", None),
    "openai_new": ("openai", None),
    "azure": ("openai", None),
    "vllm": ("openai", "http://localhost:8088/v1"),
    "qwen": ("openai", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    "deepseek": ("openai", "https://api.deepseek.com"),
    "minimax": ("openai", "https://api.minimax.io/v1"),
    "ollama": ("ollama", None),
    "anthropic": ("anthropic", None),
}
"""MemOS's name of a chat model's kind -> ours, and the URL that it is found under."""
RERANKERS: Final = {"http_bge": "http", "bge": "http", "cosine_local": "cosine"}
NO_RERANKER: Final = ("noop", "none", "disabled")
AZURE_VERSION: Final = "2024-03-01-preview"


def with_chat(
    found: dict[str, tuple[object, str]], asked: Mapping[str, str]
) -> dict[str, tuple[object, str]]:
    """Complete the chat model, or leave it out when none is named: a key alone asks for nothing."""
    if "MOS_CHAT_MODEL" not in asked:
        return {path: entry for path, entry in found.items() if not path.startswith("chat.")}
    provider = asked.get("MOS_CHAT_MODEL_PROVIDER", "openai").lower()
    source = "MOS_CHAT_MODEL_PROVIDER"
    source = source if source in asked else "MOS_CHAT_MODEL"
    kind, url = CHATS[provider]
    if provider != "minimax":
        found.pop("chat.api_key", None)
        found.pop("chat.base_url", None)
    if url is not None and "OPENAI_API_BASE" not in asked:
        found.setdefault("chat.base_url", (url, source))
    return {**found, "chat.kind": (kind, source)}


def with_reranker(
    found: dict[str, tuple[object, str]], asked: Mapping[str, str]
) -> dict[str, tuple[object, str]]:
    """Complete the reranker, or leave it out when none is named."""
    name = "MOS_RERANKER_BACKEND"
    kind = RERANKERS.get(asked.get(name, "").lower())
    own = {path: entry for path, entry in found.items() if path.startswith("reranker.")}
    rest = {path: entry for path, entry in found.items() if path not in own}
    if kind is None:  # an address alone asks for nothing
        return rest
    fields = own if kind == "http" else {}
    return {**rest, **fields, "reranker.kind": (kind, name)}
