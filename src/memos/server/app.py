"""The application: an engine, its tenants, the native API, and what surrounds every request."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fastapi import FastAPI

from memos import __version__
from memos.build import Engine, open_engine
from memos.errors import ConfigError, StoreError
from memos.ports.models import ChatModel, Embedder, Reranker
from memos.server import problems
from memos.server.context import BodyLimit, RequestContext
from memos.server.limits import Buckets
from memos.server.metrics import Metrics
from memos.server.routes import ROUTERS
from memos.server.tenants import Tenants
from memos.settings import Settings
from memos.telemetry import listen
from memos.users.keys import Keys

_PEPPER_FILE: Final = "server.pepper"
_PEPPER_BYTES: Final = 32
_MB: Final = 1024 * 1024
UPLOADS: Final[tuple[str, ...]] = ("/v1/import",)
"""Paths whose bodies may be as large as an upload."""


def create_app(
    settings: Settings,
    *,
    embedder: Embedder | None = None,
    chat: ChatModel | None = None,
    reranker: Reranker | None = None,
) -> FastAPI:
    """Return the application; models that are given stand in place of the configured ones."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with open_engine(settings, embedder=embedder, chat=chat, reranker=reranker) as engine:
            app.state.tenants = await _tenants(engine)
            with listen(app.state.metrics):
                yield

    app = FastAPI(
        title="MemOS",
        summary="The memory operating system for AI agents",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.metrics = Metrics()
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    limits = settings.server
    uploads: dict[str, int] = dict.fromkeys(UPLOADS, limits.max_upload_megabytes * _MB)
    app.add_middleware(BodyLimit, most_bytes=limits.max_body_megabytes * _MB, larger=uploads)
    app.add_middleware(RequestContext)
    return app


async def _tenants(engine: Engine) -> Tenants:
    settings = engine.settings.server
    keys = Keys(engine.accounts, pepper(engine.settings), lambda: datetime.now(UTC))
    if settings.bootstrap_key is not None:
        token = settings.bootstrap_key.get_secret_value()
        await keys.adopt(engine.settings.account, token, "bootstrap")
    buckets = Buckets(settings.requests_per_minute, burst=settings.burst)
    return Tenants(engine, keys, buckets)


def pepper(settings: Settings) -> bytes:
    """Return the secret under which keys' digests are made, made with the first call.

    It lies beside the store, for its owner alone, so that a copy of the database opens nothing.

    Raises:
        ConfigError: The configured one is too short.
        StoreError: The file cannot be read or written.
    """
    configured = settings.server.pepper
    if configured is not None:
        given = configured.get_secret_value().encode()
        if len(given) < _PEPPER_BYTES:
            raise ConfigError(
                f"server.pepper needs {_PEPPER_BYTES} bytes or more", code="invalid_settings"
            )
        return given
    path = Path(settings.home) / _PEPPER_FILE
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            aside = path.with_suffix(f".{secrets.token_hex(8)}")
            aside.touch(mode=0o600)
            aside.write_text(secrets.token_hex(_PEPPER_BYTES), "ascii")
            aside.replace(path)
        return bytes.fromhex(path.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path.name} cannot be used: {error}", service="files") from error
