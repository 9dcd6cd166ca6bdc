"""What our transport does below LiteLLM: bounds, certificates, proxies, connections, an exit."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestify.core.providers import ProviderConfig
from orchestify.errors import (
    APIConnectionError,
    APIError,
    InvalidResponseError,
    ModelNotFoundError,
    StreamInterruptedError,
)
from orchestify.lanes.litellm import LiteLLMLane, load
from orchestify.testing import Reply, StubServer
from orchestify.values import CompletionRequest, LLMMessage
from tests.any_path import AnyPathServer
from tests.certificates import unsigned
from tests.lanes import LITELLMS_OWN_WARNINGS, close_litellms_clients, collect_quietly

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    *LITELLMS_OWN_WARNINGS,
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

MODELS = ["openai/m", "anthropic/m"]
JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}
LIMIT = 64 << 20


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def litellm() -> AsyncIterator[Any]:
    yield await load()
    await close_litellms_clients()
    collect_quietly(1)


def lane(base_url: str, model: str = MODELS[0], **more: Any) -> LiteLLMLane:
    config = {"type": "litellm", "default_model": model, "base_url": base_url, "api_key": "k"}
    return LiteLLMLane("it", ProviderConfig.model_validate(config | more))


def asked(model: str = MODELS[0]) -> CompletionRequest:
    return CompletionRequest(messages=(LLMMessage("user", "hi"),), model=model, timeout_s=60)


async def drained(where: LiteLLMLane, model: str = MODELS[0]) -> None:
    async for _ in where.open_stream(asked(model)):
        pass


@pytest.mark.parametrize("model", MODELS)
async def test_an_answer_longer_than_64_mib_is_refused_as_it_comes(model: str) -> None:
    body = [b'{"choices": "', *[b"x" * (1 << 20)] * 200]
    async with AnyPathServer(body, headers=JSON) as server:
        where = lane(server.url, model)
        with pytest.raises(InvalidResponseError, match="longer than 64 MiB") as caught:
            await where.send(asked(model))
        await where.aclose()
    assert caught.value.may_be_billed


async def test_the_bound_counts_what_is_unpacked() -> None:
    packed = gzip.compress(b"x" * (LIMIT + 1))
    async with AnyPathServer(packed, headers=JSON | {"content-encoding": "gzip"}) as server:
        where = lane(server.url)
        with pytest.raises(InvalidResponseError, match="longer than 64 MiB"):
            await where.send(asked())
        await where.aclose()


async def test_a_line_of_a_stream_is_bounded_too() -> None:
    async with AnyPathServer([b"data: ", *[b"x" * (1 << 20)] * 80], headers=SSE) as server:
        where = lane(server.url)
        with pytest.raises(InvalidResponseError, match="longer than 64 MiB"):
            await drained(where)
        await where.aclose()


async def test_a_stream_of_short_lines_is_bounded_too() -> None:
    delta = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunk = json.dumps({**delta, "choices": [{"index": 0, "delta": {"content": "a"}}]})
    body = [b"data: %s\n\n" % chunk.encode()] * 500
    async with AnyPathServer(body, headers=SSE) as server:
        where = lane(server.url, answer_bounds={"max_bytes": 40_000})
        with pytest.raises(StreamInterruptedError, match="longer than 40,000 bytes"):
            await drained(where)
        await where.aclose()


async def test_an_answer_of_more_calls_than_the_bound_is_refused_before_litellm_reads_it() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call] * 513}
    body = json.dumps({"choices": [{"index": 0, "message": message}]}).encode()
    async with AnyPathServer(body, headers=JSON) as server:
        where = lane(server.url)
        with pytest.raises(InvalidResponseError, match="more than 512 tool calls"):
            await where.send(asked())
        await where.aclose()


async def test_more_calls_reach_litellm_where_the_configuration_says_so() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call] * 513}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    whole = json.dumps({**body, "choices": [choice], "usage": usage}).encode()
    async with AnyPathServer(whole, headers=JSON) as server:
        where = lane(server.url, answer_bounds={"max_tool_calls": 4_096})
        response = await where.send(asked())
        await where.aclose()
    assert len(response.tool_calls) == 513


async def test_an_event_of_more_calls_than_the_bound_is_refused_before_litellm_reads_it() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    body = json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call] * 600}}]})
    async with AnyPathServer([b"data: %s\n\n" % body.encode()], headers=SSE) as server:
        where = lane(server.url)
        with pytest.raises(InvalidResponseError, match="more than 512 tool calls"):
            await drained(where)
        await where.aclose()


async def test_calls_are_counted_over_the_events_of_a_stream() -> None:
    delta = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    calls = [{"index": at, "id": f"c{at}", "function": {"name": "f"}} for at in range(4)]
    lines = [
        json.dumps({**delta, "choices": [{"index": 0, "delta": {"tool_calls": [each]}}]})
        for each in calls
    ]
    body = [b"data: %s\n\n" % line.encode() for line in lines]
    async with AnyPathServer(body, headers=SSE) as server:
        where = lane(server.url, answer_bounds={"max_tool_calls": 3})
        with pytest.raises(StreamInterruptedError, match="more than 3 tool calls"):
            await drained(where)
        await where.aclose()


@pytest.mark.parametrize("model", MODELS)
async def test_an_answer_of_more_objects_than_the_bound_is_refused(model: str) -> None:
    body = b'{"choices": [' + b",".join([b"{}"] * 1_000_001) + b"]}"
    async with AnyPathServer(body, headers=JSON) as server:
        where = lane(server.url, model)
        with pytest.raises(InvalidResponseError, match="more than 1,000,000 JSON objects"):
            await where.send(asked(model))
        await where.aclose()


async def test_a_text_that_is_none_ends_a_stream_as_an_invalid_answer() -> None:
    delta = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    pieces = [{"content": "a"}, {"reasoning_content": 5}, {"content": 5}]
    lines = [
        b"data: %s\n\n" % json.dumps({**delta, "choices": [{"index": 0, "delta": each}]}).encode()
        for each in pieces
    ]
    async with AnyPathServer(lines, headers=SSE) as server:
        where = lane(server.url)
        with pytest.raises(StreamInterruptedError):
            await drained(where)
        await where.aclose()


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return unsigned(tmp_path_factory.mktemp("tls"))[0]


@pytest.mark.parametrize("model", MODELS)
async def test_an_untrusted_certificate_is_told_and_is_not_worth_another_try(
    untrusted: ssl.SSLContext, model: str
) -> None:
    async with AnyPathServer(tls=untrusted) as server:
        where = lane(server.url, model)
        with pytest.raises(APIConnectionError, match="certificate could not be verified") as caught:
            await where.send(asked(model))
        await where.aclose()
    assert not caught.value.retryable
    assert not caught.value.may_be_billed


@pytest.mark.parametrize("model", MODELS)
async def test_a_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    async with AnyPathServer(status=404) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        where = lane("http://provider.invalid", model, allow_http=True)
        with pytest.raises(ModelNotFoundError):
            await where.send(asked(model))
        await where.aclose()
    assert [each.headers["Host"] for each in proxy.requests] == ["provider.invalid"]


async def test_a_connection_is_kept_for_the_next_call_and_closed_with_the_lane() -> None:
    async with StubServer() as server:
        where = lane(server.openai_url)
        for _ in range(3):
            await where.send(asked())
        server.script(Reply(text="hi"))
        await drained(where)
        assert server.connections.opened == 1
        await where.aclose()
        await asyncio.sleep(0.2)
        assert server.connections.open == 0
        await where.send(asked())
        await where.aclose()


async def test_no_cookie_is_kept() -> None:
    async with AnyPathServer(headers={**JSON, "set-cookie": "a=b"}) as server:
        where = lane(server.url)
        for _ in range(2):
            with pytest.raises(APIError):  # it is no answer
                await where.send(asked())
        await where.aclose()
    assert [each.headers.get("Cookie") for each in server.requests] == [None, None]


EXIT = """
import asyncio, sys
from orchestify import ProviderRegistry
from orchestify.core.config import parse_config
async def main():
    config = parse_config(
        "x-it: &it {{engine: litellm, api_key: k, default_model: m, base_url: '{0}'}}\\n"
        "providers: {{a: {{<<: *it, type: openai}}, b: {{<<: *it, type: anthropic}}}}\\n"
    )
    async with ProviderRegistry.from_config(config) as registry:
        for name in ("a", "b"):
            assert (await registry.get(name).complete("hi")).content
            assert [piece async for piece in registry.get(name).stream("hi")]
asyncio.run(main(), debug=False)  # which would tell of what took long
"""


async def test_nothing_warns_at_exit(tmp_path: Path) -> None:
    async with StubServer() as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning"),
            *("-W", "ignore::UserWarning", "-c", EXIT.format(server.url)),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    assert (process.returncode, output.decode()) == (0, "")
