"""The composition root: settings in, a working ``AsyncMOS`` out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict, TypeVar, Unpack

import uuid_utils

from memos import settings as configuration
from memos.chat.accounting import Meter
from memos.chat.conversation import Chat, ChatDefaults, metered
from memos.chat.prompt import SYSTEM, Frame
from memos.cubes.dump import Dump
from memos.cubes.load import Load
from memos.errors import ConfigError, InvalidInput, MemosError
from memos.forget import Forget
from memos.ingest.pipeline import Ingest
from memos.jobs.handlers import Handlers
from memos.jobs.service import JobParts, Jobs
from memos.jobs.types import Bell, Manner
from memos.jobs.worker import Worker
from memos.maintain import Maintain
from memos.mos import Parts
from memos.network import Policy
from memos.ports.backend import Opened, Role
from memos.ports.models import ChatMessage, ChatModel, Embedder, Generation, Reranker
from memos.ports.queue import JobQueue
from memos.ports.stores import AccountStore, FeatureIndex, RecordStore, SharedState
from memos.ports.web import WebSearch
from memos.registry import missing_extra, resolve
from memos.remember import Defaults, Remember
from memos.retrieve.earlier import Earlier
from memos.retrieve.features import LaneFeatures
from memos.retrieve.pipeline import Retrieve
from memos.retrieve.recipe import named
from memos.retrieve.rerank import CosineReranker
from memos.retrieve.search import Search
from memos.settings import Settings
from memos.transfer import TransferOperations, TransferParts
from memos.users.access import UNLIMITED, Gate, Limits, narrowed
from memos.users.service import Users, check_id
from memos.users.sharing import Cubes

T = TypeVar("T")


class OwnModels(TypedDict, total=False):
    """Objects to use in place of the configured models; None means the configured one."""

    embedder: Embedder | None
    chat: ChatModel | None
    reranker: Reranker | None
    web: WebSearch | None


class AsyncMOS(TransferOperations):
    """Remembers what agents hand over, and finds what matters, with its sources.

    Made by ``open`` or ``simple``::

    async with AsyncMOS.simple() as mos:
        await mos.add("Zoe is allergic to peanuts.")
        result = await mos.search("What must Zoe not eat?")

    Attributes:
        jobs: Work in the background: ask for it, see how far it is, wait for it.
    """

    jobs: Jobs

    @staticmethod
    @asynccontextmanager
    async def open(
        settings: Settings | None = None, **own: Unpack[OwnModels]
    ) -> AsyncGenerator[AsyncMOS, None]:
        """Open every adapter that the settings name, and compose them.

        Args:
            settings: The settings; those of the environment and its files when None.
            **own: Models to use in place of the configured ones; see ``OwnModels``.

        Raises:
            ConfigError: The settings cannot work.
            StoreError: A store cannot be opened.
        """
        async with open_engine(settings, **own) as engine:
            mos = engine.mos()
            await mos.users.ensure(engine.settings.user)
            yield mos

    @staticmethod
    @asynccontextmanager
    async def simple(
        home: Path | str | None = None, user: str | None = None
    ) -> AsyncGenerator[AsyncMOS, None]:
        """Open what the environment and ``memos.toml`` configure: the embedded store, by default.

        Args:
            home: Directory of the store; ``~/.memos`` by default.
            user: Who acts when a call names nobody.
        """
        async with AsyncMOS.open(simple_settings(home, user)) as mos:
            yield mos


@dataclass(frozen=True, slots=True)
class Engine:
    """Opened adapters, and what is shared by everybody who uses them.

    Attributes:
        settings: What they were opened with.
        store: The opened store.
        models: The opened models.
        ingest: Writes memories; one for all, so that appends to one session wait for each other.
        retrieve: Finds them.
        bell: Wakes who waits for jobs.
        earlier: What earlier turns of conversations found.
    """

    settings: Settings
    store: Opened
    models: Models
    ingest: Ingest
    retrieve: Retrieve
    earlier: Earlier
    bell: Bell = field(default_factory=Bell)

    @property
    def queue(self) -> JobQueue:
        """The jobs of all accounts."""
        return _need(self.store.jobs, "store", Role.JOBS)

    @property
    def shared(self) -> SharedState:
        """What the processes that have this store open share."""
        return _need(self.store.shared, "store", Role.SHARED)

    @property
    def worker(self) -> Worker:
        """What does jobs; cheap to make."""
        blobs = _need(self.store.blobs, "store", Role.BLOBS)
        return Worker(self.queue, Handlers(self.mos, blobs), _manner(self.settings), self.bell)

    @property
    def accounts(self) -> AccountStore:
        """Users, cubes, grants and keys of all accounts."""
        return _need(self.store.accounts, "store", Role.ACCOUNTS)

    @property
    def records(self) -> RecordStore:
        """The memories of all accounts; a scope says which of them."""
        return _need(self.store.records, "store", Role.RECORDS)

    def gate(self, account: str, limits: Limits = UNLIMITED) -> Gate:
        """Return what decides who may do what in an account."""
        return Gate(self.accounts, account, limits)

    def mos(self, account: str | None = None, limits: Limits = UNLIMITED) -> AsyncMOS:
        """Return what an account may do, within the limits of a call's credentials.

        It is cheap to make, and lives as long as the engine.

        Args:
            account: The tenant; that of the settings when None.
            limits: What the credentials allow.
        """
        settings = self.settings
        if account is not None and account != settings.account:
            settings = settings.model_copy(update={"account": account})
        gate = self.gate(settings.account, limits)
        parts = _compose(self, settings, gate)
        mos = AsyncMOS(parts, _transfer(self, settings, gate))
        blobs = _need(self.store.blobs, "store", Role.BLOBS)
        mos.jobs = Jobs(JobParts(self.worker, blobs, gate, parts.remember, settings.user))
        return mos


@asynccontextmanager
async def open_engine(
    settings: Settings | None = None, **own: Unpack[OwnModels]
) -> AsyncGenerator[Engine, None]:
    """Open every adapter that the settings name; see ``AsyncMOS.open``."""
    embedder, chat = own.get("embedder"), own.get("chat")
    settings = configuration.load().settings if settings is None else settings
    _check(settings)
    async with AsyncExitStack() as stack:
        if embedder is None:
            opened = await _open(stack, "embedder", settings.embedder, Role.EMBEDDER, settings)
            embedder = _need(opened.embedder, "embedder", Role.EMBEDDER)
        store = await _open(stack, "store", settings.store, Role.RECORDS, settings)
        models = Models(
            embedder,
            await _chats(stack, settings) if chat is None else (chat,),
            own.get("reranker") or await _reranker(stack, settings, embedder),
            own.get("web") or await _web(stack, settings),
        )
        earlier = Earlier()
        stack.push_async_callback(earlier.close)
        records = _need(store.records, "store", Role.RECORDS)
        yield Engine(
            settings=settings,
            store=store,
            models=models,
            ingest=Ingest(records, embedder, _now, new_id),
            retrieve=Retrieve(records, _features(store), embedder, narrowed, models.reranker),
            earlier=earlier,
        )


def simple_settings(home: Path | str | None, user: str | None) -> Settings:
    """Return the settings in force, with a home directory and a user of one's own."""
    given = {"home": home, "user": user}
    arguments: dict[str, object] = {
        name: value for name, value in given.items() if value is not None
    }
    return configuration.load(arguments=arguments).settings


@dataclass(frozen=True, slots=True)
class Checked:
    """One adapter of the settings, and what became of opening it."""

    section: str
    kind: str
    error: str | None


async def check_settings(settings: Settings) -> list[Checked]:
    """Open every adapter once and say what happened."""
    results: list[Checked] = []
    sections = (
        ("embedder", settings.embedder, Role.EMBEDDER),
        ("store", settings.store, Role.RECORDS),
        ("chat", settings.chat, Role.CHAT),
        ("chat_fallback", settings.chat_fallback, Role.CHAT),
        ("reranker", settings.reranker, Role.RERANKER),
        ("web", settings.web, Role.WEB),
    )
    for path, section, role in sections:
        if not section or section.get("kind") == "cosine":  # that one is the embedder
            continue
        error: str | None = None
        try:
            _check(settings)
            async with AsyncExitStack() as stack:
                opened = await _open(stack, path, section, role, settings)
                await _ask(opened)
        except MemosError as problem:
            error = problem.detail
        results.append(Checked(path, str(section.get("kind")), error))
    return results


async def _ask(opened: Opened) -> None:
    """Ask every model of an adapter one short question."""
    if opened.embedder is not None:
        await opened.embedder.embed(["hello"], "query")
    if opened.chat is not None:
        await opened.chat.reply([ChatMessage("user", "Say hello.")], Generation(max_tokens=16))
    if opened.reranker is not None:
        await opened.reranker.score("hello", ["hello"])
    if opened.web is not None:
        await opened.web.find("hello", 1)


async def _open(
    stack: AsyncExitStack, path: str, section: Mapping[str, object], role: Role, settings: Settings
) -> Opened:
    backend, own = resolve(path, _filled(section, role, settings), role)
    try:
        return await stack.enter_async_context(backend.open(own))
    except ModuleNotFoundError as error:
        raise missing_extra(backend.name, error) from error


def _filled(section: Mapping[str, object], role: Role, settings: Settings) -> Mapping[str, object]:
    """Complete a section from the settings above it: the home directory, the credentials.

    A chat model with a URL of its own gets no key: it was not given for that server.
    """
    filled = dict(section)
    if filled.get("kind") == "sqlite":
        filled.setdefault("path", settings.home)
    elsewhere = role is Role.CHAT and filled.get("base_url") is not None
    if filled.get("kind") == "openai" and not elsewhere:
        fallback = {
            "api_key": settings.services.openai_api_key,
            "base_url": settings.services.openai_base_url,
        }
        filled = {k: v for k, v in fallback.items() if v is not None} | filled
    return filled


@dataclass(frozen=True, slots=True)
class Models:
    """The models behind an ``AsyncMOS``; chat models in the order in which they are asked."""

    embedder: Embedder
    chats: tuple[ChatModel, ...]
    reranker: Reranker | None
    web: WebSearch | None = None


async def _chats(stack: AsyncExitStack, settings: Settings) -> tuple[ChatModel, ...]:
    sections = {"chat": settings.chat, "chat_fallback": settings.chat_fallback}
    if settings.chat_fallback and not settings.chat:
        raise ConfigError(
            "chat_fallback is set and chat is not; name the first model in chat",
            code="invalid_settings",
        )
    found: list[ChatModel] = []
    for path, section in sections.items():
        if section:
            opened = await _open(stack, path, section, Role.CHAT, settings)
            found.append(_need(opened.chat, path, Role.CHAT))
    return tuple(found)


async def _reranker(
    stack: AsyncExitStack, settings: Settings, embedder: Embedder
) -> Reranker | None:
    if not settings.reranker:
        return None
    if settings.reranker.get("kind") == "cosine":  # it needs what no adapter is given: our embedder
        return CosineReranker(embedder)
    opened = await _open(stack, "reranker", settings.reranker, Role.RERANKER, settings)
    return _need(opened.reranker, "reranker", Role.RERANKER)


async def _web(stack: AsyncExitStack, settings: Settings) -> WebSearch | None:
    if not settings.web:
        return None
    opened = await _open(stack, "web", settings.web, Role.WEB, settings)
    return _need(opened.web, "web", Role.WEB)


def _check(settings: Settings) -> None:
    try:
        check_id("user", settings.user)
        check_id("account", settings.account)
        named(settings.search.recipe)
    except InvalidInput as error:
        raise ConfigError(f"settings: {error.detail}", code="invalid_settings") from None


def _compose(engine: Engine, settings: Settings, gate: Gate) -> Parts:
    store, accounts, embedder = engine.store, engine.accounts, engine.models.embedder
    records = _need(store.records, "store", Role.RECORDS)
    defaults = _defaults(settings)
    meter = Meter(accounts, settings.account, _now)
    search = _search(engine, meter)
    return Parts(
        records=records,
        gate=gate,
        ingest=engine.ingest,
        remember=Remember(gate, _need(store.blobs, "store", Role.BLOBS), engine.ingest, defaults),
        defaults=defaults,
        forget=Forget(records),
        search=search,
        users=Users(accounts, gate, settings.user, _now),
        cubes=Cubes(accounts, gate, settings.user, _now),
        maintain=Maintain(records, embedder, store.maintenance),
        chat=Chat(
            models=engine.models.chats,
            meter=meter,
            gate=gate,
            records=records,
            search=search,
            ingest=engine.ingest,
            defaults=_chat_defaults(settings),
            now=_now,
            new_id=new_id,
        ),
        settle=engine.worker.settle,
        now=_now,
    )


def _defaults(settings: Settings) -> Defaults:
    return Defaults(
        account=settings.account,
        user=settings.user,
        session=settings.session,
        limit=settings.search.limit,
        recipe=settings.search.recipe,
        candidates=settings.search.candidates,
        chunk_tokens=settings.ingest.chunk_tokens,
        max_characters=settings.ingest.max_characters,
    )


def _manner(settings: Settings) -> Manner:
    jobs = settings.jobs
    return Manner(
        concurrency=max(1, jobs.concurrency),
        attempts=jobs.attempts,
        retry=timedelta(seconds=jobs.retry_seconds),
        keep=timedelta(days=jobs.keep_days),
        hold=timedelta(seconds=jobs.lease_seconds),
    )


def _search(engine: Engine, meter: Meter) -> Search:
    chats = engine.models.chats
    thinker = partial(metered, chats, meter) if chats else None
    return Search(engine.retrieve, engine.models.web, thinker, engine.earlier)


def _chat_defaults(settings: Settings) -> ChatDefaults:
    shown = settings.prompt
    return ChatDefaults(
        account=settings.account,
        user=settings.user,
        session=settings.session,
        frame=Frame(shown.system or SYSTEM, shown.budget, shown.max_turns_window),
        limit=settings.search.limit,
        recipe=settings.search.recipe,
        candidates=settings.search.candidates,
        chunk_tokens=settings.ingest.chunk_tokens,
        max_characters=settings.ingest.max_characters,
    )


def _transfer(engine: Engine, settings: Settings, gate: Gate) -> TransferParts:
    blobs = _need(engine.store.blobs, "store", Role.BLOBS)
    moving, embedder = engine.store.transfer, engine.models.embedder
    return TransferParts(
        dump=None if moving is None else Dump(moving, blobs, version("agent-memos"), _now),
        load=None if moving is None else Load(moving, blobs, embedder, _now),
        transfer=moving,
        gate=gate,
        accounts=engine.accounts,
        user=settings.user,
        network=Policy(
            allow=settings.network.allow,
            max_bytes=settings.network.max_megabytes * 1024 * 1024,
            timeout_s=settings.network.timeout_s,
        ),
        now=_now,
    )


def _features(store: Opened) -> FeatureIndex:
    if store.features is not None:
        return store.features
    return LaneFeatures(
        _need(store.records, "store", Role.RECORDS),
        _need(store.vectors, "store", Role.VECTORS),
        _need(store.text, "store", Role.TEXT),
    )


def _need(part: T | None, section: str, role: Role) -> T:
    if part is None:
        raise ConfigError(f"{section}: the adapter does not offer {role}", code="wrong_role")
    return part


def _now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    """Return a new id: a UUIDv7 (RFC 9562), so that ids rise with time."""
    return str(uuid_utils.uuid7())
