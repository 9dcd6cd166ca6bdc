"""A LiteLLM provider that strangers configured: where it goes, with whose key, to which backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from orchestify.core.addresses import AddressRule
from orchestify.core.providers import ProviderConfig
from orchestify.errors import (
    APIError,
    ConfigError,
    EndpointRefusedError,
    InvalidParameterError,
    ModelNotFoundError,
)
from orchestify.lanes.litellm import LiteLLMLane, load
from orchestify.lanes.litellm.access import list_models
from orchestify.testing import Reply, StubServer
from orchestify.values import CompletionRequest, ImagePart, LLMMessage, TextPart
from tests.lanes import LITELLMS_OWN_WARNINGS, close_litellms_clients, collect_quietly

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    *LITELLMS_OWN_WARNINGS,
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

KEY = "key-of-the-tenant-0123456789"
OWN_KEYS = {"azure": KEY, "gemini": KEY, "ollama_chat": f"Bearer {KEY}"}
MODELS = ["azure/gpt-4o", "gemini/gemini-2.5-flash", "ollama_chat/llama3"]
SECRET = "secret-of-the-server"
ENVIRONMENT = [
    *("AZURE_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_AD_TOKEN", "AZURE_OPENAI_AD_TOKEN"),
    *("AZURE_USERNAME", "AZURE_PASSWORD", "AZURE_API_VERSION", "OPENAI_API_KEY"),
    *("GEMINI_API_KEY", "GOOGLE_API_KEY", "PALM_API_KEY", "VERTEXAI_PROJECT"),
    *("VERTEXAI_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS", "OLLAMA_API_KEY"),
    *("LITELLM_PROXY_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
]
ADDRESSES = [
    *("AZURE_API_BASE", "GEMINI_API_BASE", "OLLAMA_API_BASE", "OPENAI_API_BASE"),
    *("OPENAI_BASE_URL", "LITELLM_PROXY_API_BASE", "VERTEXAI_API_BASE"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def litellm() -> AsyncIterator[Any]:
    yield await load()
    await close_litellms_clients()
    collect_quietly(1)


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as running:
        yield running


def config(model: str = MODELS[0], base_url: str | None = None, **more: Any) -> ProviderConfig:
    given = {"type": "litellm", "default_model": model, "base_url": base_url, "api_key": KEY}
    return ProviderConfig.model_validate(given | more)


def lane(
    server: StubServer, model: str = MODELS[0], *, allowed: bool = True, **more: Any
) -> LiteLLMLane:
    """Return a guarded lane to the server, which the operator allows or not."""
    rule = AddressRule(allowed=(f"127.0.0.1:{server.port}",) if allowed else ())
    return LiteLLMLane("it", config(model, server.url, **more), rule)


def asked(model: str = MODELS[0], **more: Any) -> CompletionRequest:
    fields: dict[str, Any] = {
        "messages": (LLMMessage("user", "hi"),),
        "model": model,
        "timeout_s": 20,
        "connect_timeout_s": 5,
    }
    return CompletionRequest(**fields | more)


@pytest.mark.parametrize("model", MODELS)
async def test_an_address_that_nobody_allowed_is_not_taken(server: StubServer, model: str) -> None:
    with pytest.raises(ConfigError, match="--allow-endpoint"):
        lane(server, model, allowed=False)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", MODELS)
async def test_nothing_of_the_environment_is_sent(
    server: StubServer, monkeypatch: pytest.MonkeyPatch, model: str, stream: bool
) -> None:
    async with StubServer() as elsewhere:
        for name in ENVIRONMENT:
            monkeypatch.setenv(name, SECRET)
        for name in ADDRESSES:
            monkeypatch.setenv(name, elsewhere.url)
        with pytest.raises(APIError):  # the stub server does not speak these protocols
            await _sent(lane(server, model), asked(model), stream=stream)
        assert elsewhere.connections.opened == 0
    assert server.requests
    for seen in server.requests:
        shown = f"{seen.path} {dict(seen.headers)} {seen.raw_body!r}"
        assert SECRET not in shown
        assert OWN_KEYS[model.partition("/")[0]] in seen.headers.values()


@pytest.mark.parametrize("model", MODELS)
async def test_without_a_key_none_of_the_environment_stands_in(
    server: StubServer, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, SECRET)
    with pytest.raises(APIError):
        await lane(server, model, api_key=None).send(asked(model))
    assert [SECRET in f"{seen.path} {dict(seen.headers)}" for seen in server.requests] == [False]


async def test_another_backends_model_is_refused(server: StubServer) -> None:
    for model in ("bedrock/claude", "openai/gpt-4o", "gpt-4o", "azure_ai/x", "ollama/llama3"):
        with pytest.raises(ModelNotFoundError, match="they begin with azure/"):
            await lane(server).send(asked(model))
    assert server.connections.opened == 0


@pytest.mark.parametrize(
    "options",
    [
        {"custom_llm_provider": "bedrock"},
        {"aws_region_name": "x"},
        {"azure_ad_token": "x"},
        {"extra_headers": {"x": "y"}},
        {"vertex_credentials": "/etc/passwd"},
        {"extra_body": {}},
        {"mock_response": "x"},
        {"client": None},
    ],
)
async def test_litellms_own_options_are_refused(
    server: StubServer, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidParameterError, match="cannot be set here"):
        await lane(server).send(asked(options=options))
    with pytest.raises(ConfigError, match="cannot be set here"):
        lane(server, options=options)
    assert server.connections.opened == 0


@pytest.mark.parametrize("model", MODELS[1:])
async def test_no_image_is_fetched_for_a_caller(server: StubServer, model: str) -> None:
    picture = ImagePart(url=f"{server.url}/picture.png")
    messages = (LLMMessage("user", [TextPart("look"), picture]),)
    with pytest.raises(InvalidParameterError, match="give its bytes"):
        await lane(server, model).send(asked(model, messages=messages))
    assert server.connections.opened == 0


@pytest.mark.parametrize("model", MODELS)
async def test_a_redirect_is_not_followed(server: StubServer, model: str) -> None:
    async with StubServer() as elsewhere:
        target = {"Location": f"{elsewhere.url}/v1/chat/completions"}
        server.respond = lambda _: Reply(status=307, headers=target, raw_body=b"")
        with pytest.raises(APIError):
            await lane(server, model).send(asked(model))
        assert elsewhere.connections.opened == 0


async def test_a_providers_list_obeys_the_rule(server: StubServer) -> None:
    given = config(MODELS[2], server.url)
    with pytest.raises(EndpointRefusedError, match="--allow-endpoint"):
        await list_models("it", given, AddressRule())
    assert server.connections.opened == 0
    assert await lane(server, MODELS[2]).list_models() == [
        "ollama_chat/stub-small",
        "ollama_chat/stub-large",
    ]


async def test_two_tenants_of_one_place_send_their_own_keys(server: StubServer) -> None:
    for key in ("key-of-one-0123456789", "key-of-two-0123456789", "key-of-one-0123456789"):
        with pytest.raises(APIError):
            await lane(server, api_key=key).send(asked())
    assert [seen.headers["api-key"] for seen in server.requests] == [
        "key-of-one-0123456789",
        "key-of-two-0123456789",
        "key-of-one-0123456789",
    ]


async def _sent(lane: LiteLLMLane, request: CompletionRequest, *, stream: bool) -> None:
    if stream:
        async for _ in lane.open_stream(request):
            pass
    else:
        await lane.send(request)
