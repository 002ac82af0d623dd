"""The one Settings tree, and the only module that reads the environment.

Precedence: arguments > environment (``MEMOS_STORE__PATH``) > ``.env`` > ``memos.toml`` >
MemOS's own environment names (``memos.mosconfig``) > defaults.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, cast

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
)

from memos import mosconfig
from memos.errors import ConfigError
from memos.registry import invalid_settings

PREFIX: Final = "MEMOS_"
FILE_NAME: Final = "memos.toml"
_SECRET_WORDS: Final = ("key", "password", "secret", "token", "auth")
_KINDS: Final[Mapping[str, str]] = {"store": "sqlite", "embedder": "onnx"}
_ADAPTERS: Final = frozenset({*_KINDS, "chat", "chat_fallback", "reranker", "web"})
"""Sections that an adapter's own settings judge."""
_SHORT: Final[Mapping[str, str]] = {"BOOTSTRAP_KEY": "SERVER__BOOTSTRAP_KEY"}
_ELSEWHERE: Final = frozenset({"API_KEY", "BASE_URL", "IS_GLOBAL", "BASE_PATH"})
"""``MEMOS_`` names that belong to MemOS's client, not to these settings."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IngestSettings(_Section):
    """How what happened becomes memories."""

    max_characters: int = Field(
        default=4_000_000, ge=1, description="Largest message or file, in characters."
    )
    chunk_tokens: int = Field(
        default=200, ge=16, le=2000, description="Aim for the parts of long texts, in tokens."
    )


class SearchSettings(_Section):
    """How memories are found when a call does not say."""

    limit: int = Field(default=10, ge=1, le=1000, description="Hits that a search returns.")
    recipe: str = Field(
        default="fast",
        description="Search strategy: fast, balanced, fine, mixture, words or meaning.",
    )
    candidates: int = Field(
        default=200, ge=1, le=10_000, description="Candidates that each lane nominates."
    )


class PromptSettings(_Section):
    """What a chat model is shown."""

    system: str | None = Field(
        default=None,
        min_length=1,
        description="System text; what stands from `{memories}` on comes with the question. A "
        "built-in text when unset.",
    )
    budget: int = Field(
        default=6000, ge=64, le=10_000_000, description="Tokens of a whole prompt at most."
    )
    max_turns_window: int = Field(
        default=15, ge=0, le=1000, description="Turns of the session in a prompt at most."
    )


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _parsed(value: object) -> object:
    return cast("object", json.loads(value)) if isinstance(value, str) else value


class NetworkSettings(_Section):
    """What may be fetched when a caller names an address."""

    allow: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        default=(),
        description="Hosts and networks that may be reached although they are not public, "
        "with commas between.",
    )
    max_megabytes: int = Field(default=4096, ge=1, description="Largest answer, in MB.")
    timeout_s: float = Field(default=600.0, gt=0, description="Longest fetch, in seconds.")


class DefaultKey(_Section):
    """The API key with which callers act who speak one of MemOS's dialects and send none."""

    dialect: Literal["product", "openmem", "start"]
    network: IPvAnyNetwork
    key: SecretStr


class ServerSettings(_Section):
    """How memory is served over HTTP."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on.")
    workers: int = Field(default=1, ge=1, le=64, description="Processes that serve.")
    open_loopback: bool = Field(
        default=True,
        description="Whether requests of this machine need no API key; they act for `account`.",
    )
    bootstrap_key: SecretStr | None = Field(
        default=None,
        description="An API key with every right that is entered at start [MEMOS_BOOTSTRAP_KEY].",
    )
    pepper: SecretStr | None = Field(
        default=None,
        description="Secret under which digests of keys are made; kept in a file if unset.",
    )
    default_keys: Annotated[tuple[DefaultKey, ...], BeforeValidator(_parsed)] = Field(
        default=(),
        description="Keys for MemOS's clients that send none: a list of `{dialect, network, key}`, "
        "the dialect being `product`, `openmem` or `start`; JSON in the environment.",
    )
    requests_per_minute: int = Field(
        default=6000, ge=1, description="Requests of one key, or one address, in the long run."
    )
    burst: int = Field(default=600, ge=1, description="Requests of one key or address at once.")
    rate_limits: Literal["process", "shared"] = Field(
        default="process",
        description="Who counts requests: each process for itself, or all of a home together.",
    )
    max_body_megabytes: int = Field(default=16, ge=1, description="Largest body, in MB.")
    max_upload_megabytes: int = Field(
        default=1024, ge=1, description="Largest body of a request that carries files, in MB."
    )
    audit_days: int = Field(
        default=90, ge=1, le=3650, description="Days that entries of the audit log are kept."
    )
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        default=(),
        description="Origins whose pages may call the server, with commas between; none if unset.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level of a log line that is written."
    )


class JobsSettings(_Section):
    """Work in the background."""

    concurrency: int = Field(
        default=2, ge=0, le=64, description="Jobs that a server's process does at a time; 0: none."
    )
    attempts: int = Field(
        default=8, ge=1, le=100, description="How often a job is begun before it is given up."
    )
    retry_seconds: float = Field(
        default=2.0, gt=0, le=600, description="Pause before the second attempt; it doubles."
    )
    lease_seconds: float = Field(
        default=60.0, ge=1, le=3600, description="After that others take a vanished worker's job."
    )
    keep_days: int = Field(
        default=7, ge=1, le=3650, description="Days that it stays to be seen how a job ended."
    )


class ServiceSettings(_Section):
    """Credentials that adapters fall back to; nothing is contacted because they are set."""

    openai_api_key: SecretStr | None = Field(
        default=None, description="Key for OpenAI-compatible endpoints."
    )
    openai_base_url: str | None = Field(
        default=None, description="Base URL of the OpenAI-compatible endpoint."
    )
    hf_endpoint: str | None = Field(default=None, description="Hugging Face endpoint or mirror.")


class Settings(_Section):
    """Everything that can be configured."""

    home: Path = Field(
        default_factory=lambda: Path.home() / ".memos",
        description="Directory of the embedded store.",
    )
    account: str = Field(
        default="local", min_length=1, description="The tenant that this process acts for."
    )
    user: str = Field(
        default="default", min_length=1, description="The user who acts when a call names none."
    )
    session: str | None = Field(
        default=None, description="The session of messages when a call names none."
    )
    store: Mapping[str, object] = Field(
        default_factory=lambda: {"kind": _KINDS["store"]},
        description="Record store: kind and its own fields.",
    )
    embedder: Mapping[str, object] = Field(
        default_factory=lambda: {"kind": _KINDS["embedder"]},
        description="Embedder: kind and its own fields.",
    )
    chat: Mapping[str, object] = Field(
        default_factory=dict[str, object],
        description="Chat model: kind and its own fields. Without a kind there is none.",
    )
    chat_fallback: Mapping[str, object] = Field(
        default_factory=dict[str, object],
        description="The chat model that answers when the first one fails: kind and its fields.",
    )
    reranker: Mapping[str, object] = Field(
        default_factory=dict[str, object],
        description="Reranker: kind and its own fields. Without a kind there is none.",
    )
    web: Mapping[str, object] = Field(
        default_factory=dict[str, object],
        description="Search engine of the web: kind and its own fields. Without a kind none is "
        "asked.",
    )
    prompt: PromptSettings = Field(default_factory=PromptSettings, description="Chatting.")
    ingest: IngestSettings = Field(default_factory=IngestSettings, description="Reading.")
    search: SearchSettings = Field(default_factory=SearchSettings, description="Searching.")
    network: NetworkSettings = Field(default_factory=NetworkSettings, description="Fetching.")
    jobs: JobsSettings = Field(default_factory=JobsSettings, description="Work in the background.")
    server: ServerSettings = Field(default_factory=ServerSettings, description="Serving.")
    services: ServiceSettings = Field(default_factory=ServiceSettings, description="Credentials.")

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        """Yield fields as they are shown: what an adapter's section keeps secret is masked."""
        for name, value in super().__repr_args__():
            if name in _ADAPTERS:
                shown = _flat(cast("Mapping[str, object]", value), "")
                yield name, {path: mask(f"{name}.{path}", v) for path, (v, _) in shown.items()}
            else:
                yield name, value


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings with the source of every value: path -> ``argument``, ``environment X``, ..."""

    settings: Settings
    sources: Mapping[str, str]


def load(
    *,
    arguments: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Loaded:
    """Read every source and return the settings in force.

    Args:
        arguments: Values that win over all others, nested as the settings are.
        environ: The environment; this process's when None.
        directory: Where ``.env`` and ``memos.toml`` are looked for; the working directory when
            None. ``MEMOS_CONFIG`` names another file: TOML, or a ``MOSConfig`` in JSON or YAML.

    Raises:
        ConfigError: A misspelt key, a malformed value or file, or a feature that is yet to come.
    """
    environ = os.environ if environ is None else environ
    directory = Path.cwd() if directory is None else directory
    dotenv = {k: v for k, v in dotenv_values(directory / ".env").items() if v is not None}
    file = environ.get("MEMOS_CONFIG") or dotenv.get("MEMOS_CONFIG")
    layers = [
        _legacy(environ, dotenv),
        _flat(_toml(directory / FILE_NAME, required=False), FILE_NAME),
        _flat(_named_file(directory / file), file) if file else {},
        _environment(dotenv, ".env"),
        _environment(environ, "environment"),
        _flat(arguments or {}, "argument"),
    ]
    merged: dict[str, tuple[object, str]] = {
        f"{section}.kind": (kind, "default") for section, kind in _KINDS.items()
    }
    for layer in layers:
        for path, (value, _) in layer.items():
            # Another adapter: the fields of the former one are not its own.
            if path.endswith(".kind") and path in merged and merged[path][0] != value:
                section = path.removesuffix("kind")
                merged = {k: v for k, v in merged.items() if not k.startswith(section)}
        merged |= layer
    _check_paths(merged)
    settings = validated(_nested({path: value for path, (value, _) in merged.items()}))
    return Loaded(settings, {path: source for path, (_, source) in merged.items()})


def hand_on(arguments: Mapping[str, object]) -> None:
    """Put arguments into the environment, from where the processes that serve read them."""
    for path, (value, _) in _flat(arguments, "").items():
        os.environ[PREFIX + path.upper().replace(".", "__")] = str(value)


def validated(tree: Mapping[str, object]) -> Settings:
    """Return the settings of a nested mapping.

    Raises:
        ConfigError: Naming every wrong field with its full path.
    """
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise invalid_settings(error) from None  # the cause would show secret values


def rows(loaded: Loaded) -> Iterator[tuple[str, str, str]]:
    """Yield (path, value, source) of every setting in force, secrets masked."""
    tree = cast("dict[str, object]", loaded.settings.model_dump(mode="json"))
    for path, (value, _) in sorted(_flat(tree, "").items()):
        shown = mask(path, value)
        yield path, shown, loaded.sources.get(path, "default")


def mask(path: str, value: object) -> str:
    """Return a value as text, or stars where the name says that it is secret."""
    name = path.rpartition(".")[2].lower()
    secret = ".extra_headers." in path or any(
        part.endswith(_SECRET_WORDS) for part in name.split("_")
    )
    if value not in (None, "") and secret:
        return "********"
    return "" if value is None else str(value)


def _check_paths(merged: Mapping[str, tuple[object, str]]) -> None:
    wrong = [f"{path} ({source})" for path, (_, source) in merged.items() if not _is_setting(path)]
    if wrong:
        raise ConfigError(
            f"no setting is called {', '.join(wrong)}; `memos config show` lists them all",
            code="unknown_setting",
        )


def _is_setting(path: str) -> bool:
    head, _, rest = path.partition(".")
    if head in _ADAPTERS:
        return True  # an adapter's section: its own settings judge
    field = Settings.model_fields.get(head)
    if field is None or not rest:
        return field is not None
    section = field.annotation
    return (
        isinstance(section, type) and issubclass(section, _Section) and rest in section.model_fields
    )


def _legacy(environ: Mapping[str, str], dotenv: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    """Translate MemOS's names as one whole: an embedder's may stand in both places."""
    found = mosconfig.from_environment({**dotenv, **environ})
    return {
        path: (value, f"{'environment' if name in environ else '.env'} {name}")
        for path, (value, name) in found.items()
    }


def _environment(names: Mapping[str, str], source: str) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    for name, value in names.items():
        rest = name.upper().removeprefix(PREFIX)
        if not name.upper().startswith(PREFIX) or rest in _ELSEWHERE or rest == "CONFIG":
            continue
        if not value:  # set to nothing is how shells and compose files say "not set"
            continue
        rest = _SHORT.get(rest, rest)
        found[rest.lower().replace("__", ".")] = (value, f"{source} {name}")
    return found


def _named_file(path: Path) -> Mapping[str, object]:
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        return mosconfig.translate(mosconfig.load_file(path))
    return _toml(path, required=True)


def _toml(path: Path, *, required: bool) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise ConfigError(f"MEMOS_CONFIG names {path.name!r}, which does not exist") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path.name} is not valid TOML: {error}", code="invalid_settings"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}") from error


def _flat(tree: Mapping[str, object], source: str) -> dict[str, tuple[object, str]]:
    flat: dict[str, tuple[object, str]] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            below = _flat(cast("Mapping[str, object]", value), source)
            flat |= {f"{key}.{path}": entry for path, entry in below.items()}
        else:
            flat[key] = (value, source)
    return flat


def _nested(flat: Mapping[str, object]) -> dict[str, object]:
    tree: dict[str, object] = {}
    for path, value in flat.items():
        *sections, name = path.split(".")
        here = tree
        for section in sections:
            below = here.setdefault(section, {})
            if not isinstance(below, dict):
                raise ConfigError(f"settings: {section} is a value, not a section ({path})")
            here = cast("dict[str, object]", below)
        here[name] = value
    return tree
