"""A stub server, and a provider on each lane that leads to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from orchestify import LLMProvider, ProviderRegistry
from orchestify.testing import StubServer
from tests.lanes import LANES, Lane, configured, opened


@pytest.fixture(params=LANES, ids=lambda lane: lane.name)
def lane(request: pytest.FixtureRequest) -> Lane:
    found: Lane = request.param
    return found


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


@pytest.fixture
async def registry(lane: Lane, server: StubServer) -> AsyncIterator[ProviderRegistry]:
    async with opened(configured(lane, lane.base_url(server))) as registry:
        yield registry


@pytest.fixture
def provider(registry: ProviderRegistry) -> LLMProvider:
    return registry.get("it")
