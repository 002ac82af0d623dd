"""The application: an engine, its tenants, the native API, and what surrounds every request."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, Unpack

import anyio
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from memos import __version__
from memos import settings as configuration
from memos.buckets import Buckets, Rate
from memos.build import Engine, OwnModels, new_id, open_engine
from memos.server import problems
from memos.server.compat.envelopes import formed
from memos.server.compat.routers import DIALECT_ROUTERS
from memos.server.context import BodyLimit, RequestContext
from memos.server.document import Described
from memos.server.metrics import Metrics
from memos.server.pepper import pepper
from memos.server.routes import ROUTERS
from memos.server.stopping import hearing
from memos.server.tenants import Tenants, Turnstile
from memos.settings import Settings
from memos.telemetry import listen
from memos.users.audit import Audit
from memos.users.keys import Keys

_MB: Final = 1024 * 1024
_ASKED: Final = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match")
_TOLD: Final = ("ETag", "Retry-After", "X-Trace-Id", "X-Memos-Dump", "Content-Disposition")
"""Headers that pages of other origins may send and see."""


def create_app(settings: Settings, **own: Unpack[OwnModels]) -> FastAPI:
    """Return the application; models that are given stand in place of the configured ones."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with open_engine(settings, **own) as engine:
            app.state.tenants = await _tenants(engine)
            app.state.stopping = stopping = anyio.Event()
            with listen(app.state.metrics), hearing(stopping):
                async with anyio.create_task_group() as group:
                    if settings.jobs.concurrency:
                        group.start_soon(_work, engine, stopping)
                    yield
                    stopping.set()

    app = Described(
        title="MemOS",
        summary="The memory operating system for AI agents",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.metrics = Metrics()
    problems.install(app, formed)
    for router in (*ROUTERS, *DIALECT_ROUTERS):
        app.include_router(router)
    app.add_middleware(
        BodyLimit,
        most_bytes=settings.server.max_body_megabytes * _MB,
        most_file_bytes=settings.server.max_upload_megabytes * _MB,
    )
    if settings.server.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.server.cors_origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=_ASKED,
            expose_headers=_TOLD,
        )
    app.add_middleware(RequestContext)
    return app


def served() -> FastAPI:
    """Return the application of the settings in force; what worker processes call."""
    return create_app(configuration.load().settings)


async def _tenants(engine: Engine) -> Tenants:
    settings = engine.settings.server
    keys = Keys(engine.accounts, pepper(engine.settings), _now)
    if settings.bootstrap_key is not None:
        token = settings.bootstrap_key.get_secret_value()
        await keys.adopt(engine.settings.account, token, "bootstrap")
    rate = Rate(settings.requests_per_minute / 60, settings.burst)
    shared = engine.shared if settings.rate_limits == "shared" else Buckets()
    audit = Audit(engine.accounts, _now, new_id, settings.audit_days)
    return Tenants(engine, keys, audit, Turnstile(shared, rate))


async def _work(engine: Engine, stopping: anyio.Event) -> None:
    """Do jobs until the server is about to stop; what is under way then is handed back."""
    async with anyio.create_task_group() as group:
        group.start_soon(engine.worker.run)
        await stopping.wait()
        group.cancel_scope.cancel()


def _now() -> datetime:
    return datetime.now(UTC)
