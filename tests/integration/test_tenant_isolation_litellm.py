"""Two tenants on LiteLLM's lane: its clients, which it keeps for the process, mix no keys up."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestify.errors import (
    APIError,
    EndpointRefusedError,
    InvalidParameterError,
    ModelNotFoundError,
)
from orchestify.lanes.litellm import load
from orchestify.testing import StubServer
from orchestify.values import ImagePart, LLMMessage, TextPart
from tests.any_path import AnyPathServer
from tests.lanes import LITELLMS_OWN_WARNINGS, close_litellms_clients, collect_quietly
from tests.tenants import TEST, operators, provider, tenanted

TENANTS = ("acme", "other")
OWN_KEYS = ("AZURE_AD_TOKEN", "AZURE_API_KEY", "GEMINI_API_KEY", "OLLAMA_API_KEY")
PNG = base64.b64encode(b"\x89PNG picture").decode()
HEADERS = ("api-key", "x-goog-api-key", "authorization")

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    *LITELLMS_OWN_WARNINGS,
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def litellm() -> AsyncIterator[Any]:
    yield await load()
    await close_litellms_clients()
    collect_quietly(1)


async def test_each_sends_its_own_key_and_none_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OWN_KEYS:
        monkeypatch.setenv(name, "the-servers-own")
    base = operators(retry={"max_attempts": 1})
    async with StubServer() as server, tenanted(f"sqlite:///{tmp_path}/s.db", base) as made:
        for tenant in TENANTS:
            azure = {"default_model": "d", "options": {"api_version": "2024-10-21"}}
            for row in (
                provider("azure", f"azure-{tenant}", base_url=server.url, **azure),
                provider("google", f"google-{tenant}", base_url=server.url),
                provider("ollama", base_url=server.url),
            ):
                made.store.providers.add(tenant, row, TEST)
        for model in ("azure/d", "google/gemini-pro", "ollama/llama3"):
            for tenant in (*TENANTS, "acme"):
                found = await made.tenants.get_provider(tenant, model)
                with pytest.raises(ModelNotFoundError):  # the stub speaks none of their protocols
                    await found.complete("hi", timeout_s=20)
        sent = [credentials(each.headers) for each in server.requests]
    assert sent == [
        *({"azure-acme"}, {"azure-other"}, {"azure-acme"}),
        *({"google-acme"}, {"google-other"}, {"google-acme"}),
        *({"none"}, {"none"}, {"none"}),
    ]


def credentials(headers: Mapping[str, str]) -> set[str]:
    """What the request names itself by: older openai SDKs send Azure's key in two headers."""
    named = (value for name, value in headers.items() if name.lower() in HEADERS)
    return {value.removeprefix("Bearer ") for value in named}


@pytest.mark.parametrize(
    "written",
    [
        {"type": "litellm", "default_model": "ollama_chat/llava"},
        {"type": "openai", "engine": "litellm", "default_model": "gpt-4o"},
    ],
    ids=["litellm", "engine"],
)
async def test_no_image_is_fetched_for_a_tenant_at_an_operators_provider(
    tmp_path: Path, written: dict[str, Any]
) -> None:
    async with StubServer() as server:
        house = {**written, "base_url": server.url, "api_key": "k"}
        base = operators(providers={"house": house}, retry={"max_attempts": 1})
        async with tenanted(f"sqlite:///{tmp_path}/s.db", base) as made:
            found = await made.tenants.get_provider("acme", f"house/{written['default_model']}")
            with pytest.raises(InvalidParameterError, match="give its bytes"):
                await found.complete([showing(f"{server.url}/secret.png")], timeout_s=20)
            connections = server.connections.opened
            with contextlib.suppress(APIError):  # the stub speaks no protocol of Ollama's
                await found.complete([showing(f"data:image/png;base64,{PNG}")], timeout_s=20)
        assert connections == 0
        assert any(PNG.encode() in each.raw_body for each in server.requests)


COHERE = {"type": "litellm", "default_model": "cohere/command-a", "api_key": "k"}


async def test_a_backend_whose_answers_nothing_bounds_is_asked_only_where_that_is_allowed(
    tmp_path: Path,
) -> None:
    async with AnyPathServer(status=404) as server:
        house = COHERE | {"base_url": server.url}
        base = operators(providers={"house": house}, retry={"max_attempts": 1})
        async with tenanted(f"sqlite:///{tmp_path}/s.db", base) as made:
            found = await made.tenants.get_provider("acme", "house/cohere/command-a")
            with pytest.raises(EndpointRefusedError, match="--allow-unbounded-answers"):
                await found.complete("hi", timeout_s=20)
            assert server.requests == []
        async with tenanted(f"sqlite:///{tmp_path}/s.db", base, allows_unbounded=True) as made:
            found = await made.tenants.get_provider("acme", "house/cohere/command-a")
            with pytest.raises(ModelNotFoundError):
                await found.complete("hi", timeout_s=20)
            assert len(server.requests) == 1


def showing(url: str) -> LLMMessage:
    return LLMMessage("user", [TextPart("look"), ImagePart(url=url)])
