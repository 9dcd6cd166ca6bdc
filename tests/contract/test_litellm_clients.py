"""What we believe of `client=`: each backend of our table sends through the client it takes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from orchestify.core.providers import ProviderConfig
from orchestify.lanes.litellm import LiteLLMLane, load
from orchestify.lanes.litellm.backends import ClientKind, client_kind
from orchestify.lanes.litellm.loading import load_clients
from orchestify.testing import Reply, StubServer
from orchestify.values import CompletionRequest, LLMMessage
from tests.any_path import AnyPathServer
from tests.lanes import LITELLMS_OWN_WARNINGS, close_litellms_clients, collect_quietly

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    *LITELLMS_OWN_WARNINGS,
    pytest.mark.filterwarnings("ignore::UserWarning"),  # backends' own, of models they do not know
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

NOWHERE = "http://127.0.0.1:9/v1"
MODELS = {"bedrock": "anthropic.claude-3-5-sonnet-20240620-v1:0", "openai": "gpt-4o"}
NEEDS_A_LOGIN = {"vertex_ai"}  # asks Google for a token first, with a package that may be absent
IGNORE_IT = ["cohere/command-a", "openai/responses/gpt-4o", "azure/responses/d"]
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "AWS_REGION_NAME": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "SNOWFLAKE_ACCOUNT_ID": "made-up",
    "WATSONX_PROJECT_ID": "made-up",
    "WATSONX_TOKEN": "made-up",
}


class Noting(httpx.AsyncBaseTransport):
    """Notes where a request would have gone, and sends none."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(str(request.url))
        raise LookupError


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def litellm() -> AsyncIterator[Any]:
    yield await load()
    await close_litellms_clients()
    collect_quietly(1)


async def carried(litellm: Any, model: str, kind: ClientKind | None, *, stream: bool) -> list[str]:
    """Return where a call went that was given a client of a kind."""
    clients, transport = load_clients(), Noting()
    assert clients is not None
    settings = clients.ClientSettings("key", NOWHERE, api_version="2024-10-21")
    arguments = clients.Clients(transport).arguments(kind, settings, litellm) if kind else {}
    with contextlib.suppress(Exception):  # what it raises is no matter
        async with contextlib.aclosing(await asked(litellm, model, stream, **arguments)) as chunks:
            await anext(chunks)
    return transport.seen


async def asked(litellm: Any, model: str, stream: bool, **more: Any) -> Any:
    return await litellm.acompletion(
        model=model,
        messages=[{"role": "user", "content": "hi"}],
        api_base=NOWHERE,
        api_key="key",
        max_retries=0,
        stream=stream,
        timeout=5,
        **more,
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_each_backend_sends_through_the_client_that_the_table_says(
    litellm: Any, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    backends = {str(getattr(each, "value", each)) for each in litellm.provider_list}
    tried = {name: kind for name in backends - NEEDS_A_LOGIN if (kind := client_kind(name, {}))}
    assert len(tried) > 95
    elsewhere = [
        name
        for name, kind in sorted(tried.items())
        if not await carried(
            litellm, f"{name}/{MODELS.get(name, 'some-model')}", kind, stream=stream
        )
    ]
    assert elsewhere == []


@pytest.mark.parametrize("kind", ["handler", "openai"])
@pytest.mark.parametrize("model", IGNORE_IT)
async def test_what_the_table_leaves_out_takes_no_client(
    litellm: Any, model: str, kind: ClientKind
) -> None:
    assert await carried(litellm, model, kind, stream=False) == []


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("openai/some", "/v1/chat/completions"),
        ("groq/some", "/v1/chat/completions"),
        ("azure/some", "/v1/openai/deployments/some/chat/completions?api-version=2024-10-21"),
    ],
)
async def test_a_client_goes_where_litellm_would(litellm: Any, model: str, path: str) -> None:
    kind = client_kind(model.partition("/")[0], {})
    assert await carried(litellm, model, kind, stream=False) == [f"http://127.0.0.1:9{path}"]


async def test_an_sdks_key_and_organization_are_what_the_configuration_says() -> None:
    async with AnyPathServer(status=404) as server:
        config = {
            "type": "litellm",
            "default_model": "openai/m",
            "base_url": server.url,
            "api_key": "key-of-the-tests",
            "options": {"organization": "org-1"},
            "headers": {"x-team": "core"},
        }
        lane = LiteLLMLane("it", ProviderConfig.model_validate(config))
        request = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="openai/m")
        with contextlib.suppress(Exception):
            await lane.send(request)
        await lane.aclose()
    (seen,) = server.requests
    assert seen.headers["Authorization"] == "Bearer key-of-the-tests"
    assert seen.headers["OpenAI-Organization"] == "org-1"
    assert seen.headers["x-team"] == "core"


async def test_a_lost_connection_is_not_tried_again(litellm: Any) -> None:
    async with StubServer() as server:
        for base_url, model in ((server.openai_url, "openai/m"), (server.url, "anthropic/m")):
            server.script(Reply(reset=True))
            config = {"type": "litellm", "default_model": model, "base_url": base_url}
            lane = LiteLLMLane("it", ProviderConfig.model_validate(config | {"api_key": "k"}))
            request = CompletionRequest(messages=(LLMMessage("user", "hi"),), model=model)
            with contextlib.suppress(Exception):
                await lane.send(request)
            await lane.aclose()
        assert len(server.requests) == 2
