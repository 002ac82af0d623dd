"""Fixtures and profiles that all tests share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings

pytest.register_assert_rewrite("memos.testing.contracts")

settings.register_profile(
    "memos",
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("memos")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio."""
    return "asyncio"
