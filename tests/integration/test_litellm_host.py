"""A host that uses LiteLLM and httpx by itself, beside our lane: nothing of theirs is changed."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import sys
import types
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

import orchestify
from orchestify.core.providers import ProviderConfig
from orchestify.errors import APIError
from orchestify.lanes.litellm import LiteLLMLane, load
from orchestify.lanes.litellm.exchange import note
from orchestify.testing import Reply, StubServer
from orchestify.values import CompletionRequest, LLMMessage
from tests.any_path import AnyPathServer
from tests.lanes import LITELLMS_OWN_WARNINGS, close_litellms_clients, collect_quietly

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    *LITELLMS_OWN_WARNINGS,
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

MODELS = ["openai/stub", "anthropic/stub", "azure/stub"]
OURS = str(Path(orchestify.__file__).parent)
HANDLERS = "litellm.llms.custom_httpx.http_handler"


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def litellm() -> AsyncIterator[Any]:
    yield await load()
    await close_litellms_clients()
    collect_quietly(1)


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as running:
        yield running


async def use_the_lane(base_url: str, model: str) -> None:
    """Send a whole request and a stream through the lane, whatever comes of them."""
    config = {"type": "litellm", "default_model": model, "base_url": base_url, "api_key": "k"}
    lane = LiteLLMLane("it", ProviderConfig.model_validate(config))
    request = CompletionRequest(messages=(LLMMessage("user", "hi"),), model=model, timeout_s=20)
    for work in (lane.send(request), drained(lane, request)):
        try:
            await work
        except APIError:
            assert model == "azure/stub"  # the stub server does not speak it
    await lane.aclose()


async def drained(lane: LiteLLMLane, request: CompletionRequest) -> None:
    async for _ in lane.open_stream(request):
        pass


def hosts_own(base_url: str, model: str = "openai/stub", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi"}]
    return {"model": model, "messages": messages, "api_base": base_url, "api_key": "k", **more}


def at(server: StubServer, model: str) -> str:
    return server.openai_url if model.startswith("openai") else server.url


def functions(module: types.ModuleType) -> Iterator[types.FunctionType]:
    """Every function of a module and of its classes, those behind decorators and properties too."""
    classes = [each for each in vars(module).values() if inspect.isclass(each)]
    for each in [*vars(module).values(), *(m for own in classes for m in vars(own).values())]:
        bare = each.fget if isinstance(each, property) else each
        bare = bare.__func__ if isinstance(bare, staticmethod | classmethod) else bare
        while isinstance(bare, types.FunctionType):
            yield bare
            bare = getattr(bare, "__wrapped__", None)


async def test_no_function_of_litellm_httpx_or_openai_is_ours(server: StubServer) -> None:
    for model in MODELS:
        await use_the_lane(at(server, model), model)
    seen = [
        function
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in {"litellm", "httpx", "openai"} and module is not None
        for function in functions(module)
    ]
    assert len(seen) > 1000
    ours = {each for each in seen if each.__code__.co_filename.startswith(OURS)}
    assert ours <= {note}  # LiteLLM keeps the last `logger_fn` that a call was given


async def test_every_function_of_litellms_handlers_is_the_one_its_source_has(
    server: StubServer,
) -> None:
    await use_the_lane(server.openai_url, "openai/stub")
    module = importlib.import_module(HANDLERS)
    spec = importlib.util.find_spec(HANDLERS)
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    used = {each.__qualname__: each.__code__ for each in functions(module)}
    assert used == {each.__qualname__: each.__code__ for each in functions(fresh)}


@pytest.mark.parametrize("model", MODELS)
async def test_a_hosts_litellm_follows_redirects_where_the_lane_does_not(
    litellm: Any, model: str
) -> None:
    async with AnyPathServer() as there:
        target = {"Location": f"{there.url}/there"}
        async with AnyPathServer(status=307, headers=target) as here:
            with pytest.raises(APIError):
                await sent(here.url, model)
            assert (len(here.requests), len(there.requests)) == (1, 0)
            with contextlib.suppress(Exception):  # what comes from there is no answer
                await litellm.acompletion(**hosts_own(here.url, model, api_version="2024"))
            assert (len(here.requests), len(there.requests)) == (2, 1)


async def sent(base_url: str, model: str) -> None:
    config = {"type": "litellm", "default_model": model, "base_url": base_url, "api_key": "k"}
    options = {"api_version": "2024"} if model.startswith("azure") else {}
    lane = LiteLLMLane("it", ProviderConfig.model_validate({**config, "options": options}))
    messages = (LLMMessage("user", "hi"),)
    await lane.send(CompletionRequest(messages=messages, model=model, timeout_s=20))


async def test_a_hosts_litellm_tries_again_as_it_is_told(server: StubServer, litellm: Any) -> None:
    await use_the_lane(server.openai_url, "openai/stub")
    server.script(Reply(status=500), Reply(text="hi"))
    before = len(server.requests)
    await litellm.acompletion(**hosts_own(server.openai_url, max_retries=1))
    assert len(server.requests) - before == 2


async def test_a_hosts_httpx_follows_redirects_and_logs(
    server: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    await use_the_lane(server.openai_url, "openai/stub")
    async with AnyPathServer() as there, httpx.AsyncClient(follow_redirects=True) as client:
        target = {"Location": f"{there.url}/there"}
        async with AnyPathServer(status=307, headers=target) as here:
            with caplog.at_level(logging.INFO, logger="httpx"):
                answer = await client.post(here.url, json={})
        assert (answer.status_code, len(there.requests)) == (200, 1)
    assert "HTTP Request: POST" in caplog.text


async def test_a_hosts_logger_fn_and_callbacks_hear_nothing_of_ours(
    server: StubServer, litellm: Any
) -> None:
    heard: list[str] = []
    await litellm.acompletion(
        **hosts_own(server.openai_url, logger_fn=lambda details: heard.append(str(details)[:40]))
    )
    own = len(heard)
    await use_the_lane(server.openai_url, "openai/stub")
    assert own > 0
    assert len(heard) == own
