"""MemOS's configuration, translated into ours: its environment names and its ``MOSConfig``.

Nothing is ignored silently. What MemOS can be asked for and this release cannot do yet is an error
that names the field; so is a field that MemOS does not have. Values never stand in an error text,
for they may be secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeAlias, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from memos.errors import ConfigError
from memos.mosmodels import (
    AZURE_VERSION,
    CHATS,
    NO_RERANKER,
    RERANKERS,
    WEB_KEYS,
    with_chat,
    with_reranker,
    with_search,
)

_Object: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class Name:
    """What becomes of one of MemOS's environment names.

    Attributes:
        path: The setting that it becomes, if there is one.
        asks_for: What it asks for that this release cannot do yet.
        off: Values, in lower case, that do not ask for it; the empty one never does.
    """

    path: str = ""
    asks_for: str = ""
    off: tuple[str, ...] = ()


def _asks(feature: str, **names: str) -> dict[str, Name]:
    """Return names of a feature to come, each with the words that ask for nothing."""
    return {name: Name(asks_for=feature, off=tuple(off.split())) for name, off in names.items()}


_BACKEND: Final = "universal_api"
_PROVIDER: Final = "openai"
_NO: Final = "false 0 no off"
_MODEL: Final = "reading by a model"
_CHUNKS: Final = "MemOS's chunks of a conversation"
_BACKUP: Final = "a second embedding server"
_SCHEDULER: Final = "the scheduler"

NAMES: Final[Mapping[str, Name]] = {
    "OPENAI_API_KEY": Name("services.openai_api_key"),
    "OPENAI_API_BASE": Name("services.openai_base_url"),
    "HF_ENDPOINT": Name("services.hf_endpoint"),
    "MOS_USER_ID": Name("user"),
    "MOS_SESSION_ID": Name("session"),
    "MOS_TOP_K": Name("search.limit"),
    "MOS_EMBEDDER_BACKEND": Name("embedder.kind", f"another embedder than {_BACKEND}", (_BACKEND,)),
    "MOS_EMBEDDER_PROVIDER": Name("embedder.kind", f"another one than {_PROVIDER}", (_PROVIDER,)),
    "MOS_EMBEDDER_MODEL": Name("embedder.model"),
    "MOS_EMBEDDER_API_BASE": Name("embedder.base_url"),
    "MOS_EMBEDDER_API_KEY": Name("embedder.api_key"),
    "MOS_EMBEDDER_TIMEOUT": Name("embedder.timeout_s"),
    "EMBEDDING_DIMENSION": Name("embedder.dimensions"),
    **_asks(_BACKUP, MOS_EMBEDDER_BACKUP_=_NO),
    **_asks("headers of one's own for the embedding server", MOS_EMBEDDER_HEADERS_EXTRA="{}"),
    **_asks("another memory than texts in one store", MOS_TEXT_MEM_TYPE="general_text"),
    **_asks("a directory per cube", MOS_CUBE_PATH=""),
    **_asks("cubes of one's own configuration", MOS_ENABLE_DEFAULT_CUBE_CONFIG="true false"),
    **_asks("reorganising memories", MOS_ENABLE_REORGANIZE=_NO),
    **_asks("a limit per tier", MOS_WORKING_MEMORY="20", MOS_LONGTERM_MEMORY="1000000",
            MOS_USER_MEMORY="1000000"),
    **_asks("another user store", MOS_USER_MANAGER_BACKEND="sqlite"),
    "MOS_CHAT_MODEL": Name("chat.model"),
    "MOS_CHAT_MODEL_PROVIDER": Name(  # Azure's needs a version, which has no name here
        "chat.kind", "another chat model", tuple(name for name in CHATS if name != "azure")
    ),
    "MOS_CHAT_TEMPERATURE": Name("chat.temperature"),
    "MOS_MAX_TOKENS": Name("chat.max_tokens"),
    "MOS_TOP_P": Name("chat.top_p"),
    "MINIMAX_API_KEY": Name("chat.api_key"),
    "MINIMAX_API_BASE": Name("chat.base_url"),
    "MOS_RERANKER_BACKEND": Name(
        "reranker.kind", "another reranker", (*RERANKERS, *NO_RERANKER)
    ),
    "SEARCH_MODE": Name("search.recipe"),
    "ENABLE_INTERNET": Name("web.kind"),
    "INTERNET_SEARCH_BACKEND": Name("web.kind", "another search engine", tuple(WEB_KEYS)),
    **dict.fromkeys(WEB_KEYS.values(), Name("web.api_key")),
    "MOS_RERANKER_URL": Name("reranker.url"),
    "MOS_RERANKER_MODEL": Name("reranker.model"),
    **_asks("such a reranker",
            MOS_FEEDBACK_RERANKER_BACKEND="noop none disabled",
            MOS_RERANKER_HEADERS_EXTRA="{}", MOS_RERANK_SOURCE="",
            MOS_RERANKER_STRATEGY="single_turn", MOS_RERANKER_MAX_TOKENS="8000",
            MOS_RERANKER_CONCAT_LEN="1000"),
    **_asks(_SCHEDULER, MOS_ENABLE_SCHEDULER=_NO, MOS_SCHEDULER_TOP_K="10",
            MOS_SCHEDULER_ACT_MEM_UPDATE_INTERVAL="300", MOS_SCHEDULER_CONTEXT_WINDOW_SIZE="5",
            MOS_SCHEDULER_THREAD_POOL_MAX_WORKERS="10000",
            MOS_SCHEDULER_CONSUME_INTERVAL_SECONDS="0.01",
            MOS_SCHEDULER_ENABLE_PARALLEL_DISPATCH=f"true {_NO}",
            MOS_SCHEDULER_ENABLE_ACTIVATION_MEMORY=_NO),
    **_asks("the scheduler on Redis or RabbitMQ", MEMSCHEDULER_=_NO),
    **_asks(_MODEL, MEMRADER_="", MEMREADER_=_NO, MEM_READER_BACKEND="simple_struct",
            MEM_READER_MEM_VERSION_SWITCH="off", MEM_READER_SAVE_RAWFILENODE=f"true {_NO}"),
    **_asks(_CHUNKS, MEM_READER_CHAT_CHUNK_TYPE="default",
            MEM_READER_CHAT_CHUNK_TOKEN_SIZE="1600",  # noqa: S106 - no secret
            MEM_READER_CHAT_CHUNK_SESS_SIZE="10",
            MEM_READER_CHAT_CHUNK_OVERLAP="2"),
    **_asks("Neo4j as a store", NEO4J_BACKEND="", NEO4J_URI="", NEO4J_AUTH="", NEO4J_USER="",
            NEO4J_PASSWORD="", NEO4J_DB_NAME="", MOS_NEO4J_SHARED_DB=_NO),
    **_asks("Qdrant as a store", QDRANT_HOST="", QDRANT_PORT="", QDRANT_URL="", QDRANT_API_KEY=""),
}  # fmt: skip
"""Every name that MemOS reads and that is unmistakably its own, or listed by it for a service.

A name that ends in an underscore stands for all that begin with it.
"""
_FAMILIES: Final = tuple(name for name in NAMES if name.endswith("_"))
_OURS: Final = "MOS_"
_NUMBERS: Final = frozenset({"MOS_TOP_K", "EMBEDDING_DIMENSION"})


def from_environment(environ: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    """Return the settings that MemOS's environment names stand for: path -> (value, name).

    Names of other programs are left alone, and so is a dimension without an embedder to take it.

    Raises:
        ConfigError: A name asks for what this release cannot do yet (``not_built_yet``), begins
            with ``MOS_`` and is none of MemOS's (``unknown_setting``), or has a malformed value.
    """
    asked = {name: value.strip() for name, value in environ.items() if value.strip()}
    unknown = [name for name in asked if name.startswith(_OURS) and _known(name) is None]
    if unknown:
        raise _unknown("environment", unknown)
    unbuilt = {
        name: known.asks_for
        for name, value in asked.items()
        if (known := _known(name)) and known.asks_for and value.lower() not in known.off
    }
    if unbuilt:
        raise _not_built("environment", unbuilt, "unset")
    found: dict[str, tuple[object, str]] = {
        known.path: (_number(name, value) if name in _NUMBERS else value, name)
        for name, value in asked.items()
        if (known := _known(name)) and known.path
    }
    # In the order of NAMES, so that the one which says most is shown as the source.
    chosen = [name for name in NAMES if name in asked and name.startswith("MOS_EMBEDDER_")]
    if chosen:
        found["embedder.kind"] = (_PROVIDER, chosen[0])
    else:
        found.pop("embedder.dimensions", None)
    return with_search(with_reranker(with_chat(found, asked), asked), asked)


def _known(name: str) -> Name | None:
    if name in NAMES and not name.endswith("_"):
        return NAMES[name]
    return next((NAMES[family] for family in _FAMILIES if name.startswith(family)), None)


def _number(name: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,9}", value, re.ASCII):
        raise ConfigError(f"{name} must be a whole number", code="invalid_settings", fields=[name])
    return int(value)


@dataclass(frozen=True, slots=True)
class _Asks:
    """Marks a field of a feature to come; no value, its default and ``off`` do not ask for it."""

    feature: str
    off: tuple[object, ...] = ()


_EMPTY: Final[tuple[object, ...]] = (None, "", {}, [])


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, protected_namespaces=(), defer_build=True
    )

    model_schema: str | None = None


class _Embedding(_Part):
    """The ``config`` of MemOS's universal_api embedder."""

    model_name_or_path: str
    provider: Annotated[str, _Asks("another provider than openai", (_PROVIDER,))]
    api_key: str | None = None
    base_url: str | None = None
    embedding_dims: int | None = None
    max_tokens: Annotated[int | None, _Asks("a limit to what is embedded")] = 8192
    headers_extra: Annotated[_Object | None, _Asks("headers of one's own")] = None
    backup_client: Annotated[bool, _Asks(_BACKUP)] = False
    backup_api_key: Annotated[str | None, _Asks(_BACKUP)] = None
    backup_base_url: Annotated[str | None, _Asks(_BACKUP)] = None
    backup_headers_extra: Annotated[_Object | None, _Asks(_BACKUP)] = None
    backup_model_name_or_path: Annotated[str | None, _Asks(_BACKUP)] = None


class _EmbedderFactory(_Part):
    backend: Annotated[str, _Asks("another embedder than universal_api", (_BACKEND,))]
    config: _Object


class _Chunking(_Part):
    tokenizer_or_token_counter: Annotated[str, _Asks("another tokenizer")] = "gpt2"  # noqa: S105 - no secret
    chunk_size: int | None = None
    chunk_overlap: Annotated[int, _Asks("chunks that overlap in another way", (0,))] = 128
    min_sentences_per_chunk: Annotated[int, _Asks("another least chunk")] = 1
    save_rawfile: Annotated[bool, _Asks("chunks without their file")] = True
    headers_to_split_on: Annotated[list[object] | None, _Asks("other headings to split on")] = None
    strip_headers: Annotated[bool, _Asks("chunks with their headings")] = True
    recursive: Annotated[bool, _Asks("chunks of chunks")] = False


class _ChunkerFactory(_Part):
    backend: Annotated[str, _Asks("another chunker", ("sentence", "markdown"))]
    config: _Chunking = _Chunking()


class _Reading(_Part):
    llm: Annotated[_Object | None, _Asks(_MODEL)] = None
    general_llm: Annotated[_Object | None, _Asks(_MODEL)] = None
    image_parser_llm: Annotated[_Object | None, _Asks("reading images")] = None
    document_parser_llm: Annotated[_Object | None, _Asks(_MODEL)] = None
    preference_extractor_llm: Annotated[_Object | None, _Asks("preference memory")] = None
    embedder: _EmbedderFactory | None = None
    chunker: _ChunkerFactory | None = None
    remove_prompt_example: Annotated[bool, _Asks(_MODEL)] = False
    chat_chunker: Annotated[_Object | None, _Asks(_CHUNKS)] = None
    direct_markdown_hostnames: Annotated[list[str] | None, _Asks("reading from the web")] = None
    oss_config: Annotated[_Object | None, _Asks("an object store")] = None
    skills_dir_config: Annotated[_Object | None, _Asks("skill memory")] = None
    memory_version_switch: Annotated[str, _Asks("extraction of versions")] = "off"


class _ReaderFactory(_Part):
    backend: Annotated[str, _Asks("another reader", ("simple_struct",))]
    config: _Reading


class _UserStore(_Part):
    user_id: Annotated[str, _Asks("another root user")] = "root"
    db_path: Annotated[str | None, _Asks("a place of its own for users")] = None


class _UserStoreFactory(_Part):
    backend: Annotated[str, _Asks("another user store", ("sqlite",))]
    config: _Object = {}


class _Chatting(_Part):
    """The ``config`` of MemOS's chat models, those of every kind together."""

    model_name_or_path: str
    temperature: float | int | None = None
    max_tokens: int | None = None
    top_p: float | int | None = None
    top_k: Annotated[int | None, _Asks("another top_k of a chat model")] = 50
    remove_think_prefix: bool = False
    default_headers: _Object | None = None
    api_key: str | None = None
    api_base: str | None = None
    base_url: str | None = None
    api_version: str | None = None
    extra_body: _Object | None = None
    enable_thinking: bool | None = None
    backup_client: bool = False
    backup_api_key: str | None = None
    backup_api_base: str | None = None
    backup_model_name_or_path: str | None = None
    backup_headers: _Object | None = None


class _ChatFactory(_Part):
    backend: Annotated[str, _Asks("another chat model", tuple(CHATS))]
    config: _Chatting


class _MosConfig(_Part):
    user_id: str | None = None
    session_id: str | None = None
    chat_model: _ChatFactory | None = None
    mem_reader: _ReaderFactory | None = None
    mem_scheduler: Annotated[_Object | None, _Asks(_SCHEDULER)] = None
    user_manager: _UserStoreFactory | None = None
    max_turns_window: int | None = None
    top_k: int | None = None
    enable_textual_memory: Annotated[bool, _Asks("a memory without texts")] = True
    enable_activation_memory: Annotated[bool, _Asks("activation memory")] = False
    enable_parametric_memory: Annotated[bool, _Asks("parametric memory")] = False
    enable_preference_memory: Annotated[bool, _Asks("preference memory")] = False
    enable_mem_scheduler: Annotated[bool, _Asks(_SCHEDULER)] = False
    PRO_MODE: Annotated[bool, _Asks("chat that splits questions")] = False


def translate(config: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that a ``MOSConfig`` object stands for, nested as ours are.

    Raises:
        ConfigError: Fields that MemOS does not have (``unknown_setting``), values of the wrong
            type (``invalid_settings``), or fields that ask for what this release cannot do yet
            (``not_built_yet``): all of the first sort that occurs, with their full paths.
    """
    known = _checked(_MosConfig, config)
    unbuilt = dict(_asked(known, ""))
    reading = known.mem_reader.config if known.mem_reader else _Reading()
    embedding = None
    if reading.embedder and reading.embedder.backend == _BACKEND:
        where = "mem_reader.config.embedder.config"
        embedding = _checked(_Embedding, reading.embedder.config, where)
        unbuilt |= _asked(embedding, f"{where}.")
    if known.user_manager and known.user_manager.backend == "sqlite":
        where = "user_manager.config"
        unbuilt |= _asked(_checked(_UserStore, known.user_manager.config, where), f"{where}.")
    if unbuilt:
        raise _not_built("MOSConfig", unbuilt, "remove")
    return _tree(known, embedding, reading.chunker)


def load_file(path: Path) -> Mapping[str, object]:
    """Return the object in a JSON or YAML file.

    Raises:
        ConfigError: The file cannot be read, is malformed (its line is named), or holds no object.
    """
    form = {".json": "JSON", ".yaml": "YAML", ".yml": "YAML"}.get(path.suffix.lower())
    if form is None:
        raise _unreadable(path, "is not called .json, .yaml or .yml")
    try:
        text = path.read_text(encoding="utf-8-sig")
        loaded: object = json.loads(text) if form == "JSON" else _yaml(text)
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _unreadable(path, "cannot be read: it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _unreadable(path, f"is not valid JSON at line {error.lineno}") from None
    except RecursionError:
        raise _unreadable(path, "is nested too deeply") from None
    except ValueError as error:
        raise _unreadable(path, f"is not valid {form}{error}") from None
    if not isinstance(loaded, dict):
        raise _unreadable(path, "must hold one object")
    return cast("Mapping[str, object]", loaded)


def _yaml(text: str) -> object:
    import yaml  # noqa: PLC0415 - only who has such a file pays for the parser

    try:
        return cast("object", yaml.safe_load(text))
    except yaml.YAMLError as error:
        # Its own message quotes the text around, in which a key may stand.
        mark = getattr(error, "problem_mark", None)
        raise ValueError("" if mark is None else f" at line {mark.line + 1}") from None


_P = TypeVar("_P", bound=_Part)


def _checked(form: type[_P], value: Mapping[str, object], path: str = "") -> _P:
    try:
        return form.model_validate(dict(value))
    except ValidationError as error:
        items = error.errors(include_input=False, include_url=False, include_context=False)
    stem = (path,) if path else ()
    found = [(".".join([*stem, *map(str, i["loc"])]), i["type"], i["msg"]) for i in items]
    unknown = [where for where, type_, _ in found if type_ in ("extra_forbidden", "invalid_key")]
    if unknown:
        raise _unknown("MOSConfig", unknown)
    wrong = "; ".join(f"{where}: {message}" for where, _, message in found)
    fields = [where for where, _, _ in found]
    raise ConfigError(f"MOSConfig: {wrong}", code="invalid_settings", fields=fields)


def _asked(part: _Part, path: str) -> Iterator[tuple[str, str]]:
    """Yield (path, feature) of every field that asks for what is not built yet."""
    for name, field in type(part).model_fields.items():
        value: object = getattr(part, name)
        if isinstance(value, _Part):
            yield from _asked(value, f"{path}{name}.")
        off = (*_EMPTY, cast("object", field.default))
        for note in field.metadata:
            if isinstance(note, _Asks) and value not in (*off, *note.off):
                yield f"{path}{name}", note.feature


def _tree(
    known: _MosConfig, embedding: _Embedding | None, chunker: _ChunkerFactory | None
) -> dict[str, object]:
    tree: dict[str, object] = {"user": known.user_id, "session": known.session_id}
    if known.top_k is not None:
        tree["search"] = {"limit": known.top_k}
    if chunker and chunker.config.chunk_size is not None:
        tree["ingest"] = {"chunk_tokens": chunker.config.chunk_size}
    if embedding:
        own: dict[str, object] = {
            "kind": "openai",
            "model": embedding.model_name_or_path,
            "base_url": embedding.base_url,
            "api_key": embedding.api_key,
            "dimensions": embedding.embedding_dims,
        }
        tree["embedder"] = _present(own)
    if known.max_turns_window is not None:
        tree["prompt"] = {"max_turns_window": known.max_turns_window}
    if known.chat_model is not None:
        tree |= _chat(known.chat_model.backend, known.chat_model.config)
    return _present(tree)


def _chat(backend: str, config: _Chatting) -> dict[str, object]:
    """Return the sections of a chat model, and of the one behind it."""
    kind, url = CHATS[backend]
    # Reasoning is never part of an answer of ours: remove_think_prefix asks for nothing.
    own: dict[str, object] = {
        "kind": kind,
        "model": config.model_name_or_path,
        "base_url": config.api_base or config.base_url or url,
        "api_key": config.api_key,
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
        "top_p": config.top_p,
    }
    if backend == "azure":
        own["api_version"] = config.api_version or AZURE_VERSION
    if kind == "ollama":
        own["think"] = config.enable_thinking
    if kind == "openai":
        thinking = {"enable_thinking": config.enable_thinking}
        own["extra_body"] = {**(config.extra_body or {}), **_present(thinking)} or None
        own["extra_headers"] = config.default_headers or None
    chat = _present(own)
    if not config.backup_client:
        return {"chat": chat}
    second = {
        "model": config.backup_model_name_or_path,
        "base_url": config.backup_api_base,
        "api_key": config.backup_api_key,
        "extra_headers": config.backup_headers or None,
    }
    return {"chat": chat, "chat_fallback": {**chat, **_present(second)}}


def _present(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _unknown(where: str, names: Sequence[str]) -> ConfigError:
    them = ", ".join(sorted(names))
    return ConfigError(
        f"{where}: MemOS has no setting called {them}; correct or remove it",
        code="unknown_setting",
        fields=sorted(names),
    )


def _not_built(where: str, asked: Mapping[str, str], remedy: str) -> ConfigError:
    them = ", ".join(f"{name} ({feature})" for name, feature in sorted(asked.items()))
    return ConfigError(
        f"{where} asks for what this release cannot do yet: {them}; "
        f"{remedy} {'it' if len(asked) == 1 else 'them'}, or wait for the release that can",
        code="not_built_yet",
        fields=sorted(asked),
    )


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path.name} {why}", code="unreadable_file", file=path.name)
