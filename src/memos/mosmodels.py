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
WEB_KEYS: Final[Mapping[str, str]] = {"bocha": "BOCHA_API_KEY", "tavily": "TAVILY_API_KEY"}
"""MemOS's name of a search engine, which is ours too, and where its key stands."""
_MODES: Final = ("fast", "fine", "mixture")
_YES: Final = ("true", "1", "yes", "on")
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


def with_search(
    found: dict[str, tuple[object, str]], asked: Mapping[str, str]
) -> dict[str, tuple[object, str]]:
    """Complete how is searched: the mode, and the web if it is switched on.

    ``SEARCH_MODE`` and ``ENABLE_INTERNET`` may be other programs' names: a mode that MemOS does not
    have, and a switch without an engine or a key for one, say nothing.
    """
    kept = {path: entry for path, entry in found.items() if not path.startswith("web.")}
    if "SEARCH_MODE" in asked:
        mode = asked["SEARCH_MODE"].lower()
        kept.pop("search.recipe", None)
        kept |= {"search.recipe": (mode, "SEARCH_MODE")} if mode in _MODES else {}
    backend, switch = "INTERNET_SEARCH_BACKEND", "ENABLE_INTERNET"
    kind = asked.get(backend, "bocha").lower()
    key = WEB_KEYS[kind]
    if asked.get(switch, "").lower() not in _YES or not {backend, key} & set(asked):
        return kept
    kept["web.kind"] = (kind, backend if backend in asked else switch)
    return kept | ({"web.api_key": (asked[key], key)} if key in asked else {})
