"""What every lane must raise, over real HTTP."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from orchestify import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    ContentFilterError,
    ContextWindowError,
    InvalidRequestError,
    InvalidResponseError,
    LLMProvider,
    ModelNotFoundError,
    PermissionDeniedError,
    ProviderRegistry,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    StreamInterruptedError,
    TextDelta,
    Usage,
)
from orchestify.testing import Reply, StubServer
from tests.lanes import (
    ANTHROPIC_LANES,
    LANE_NAME,
    LITELLMS_OWN_WARNINGS,
    OPENAI_LANES,
    Lane,
    configured,
    opened,
)

pytestmark = LITELLMS_OWN_WARNINGS

REFUSALS: list[tuple[str, Reply, type[APIError], int]] = [
    ("400", Reply(status=400), InvalidRequestError, 400),
    ("401", Reply(status=401), AuthenticationError, 401),
    ("402", Reply(status=402), PermissionDeniedError, 402),
    ("403", Reply(status=403), PermissionDeniedError, 403),
    ("404", Reply(status=404), ModelNotFoundError, 404),
    ("408", Reply(status=408), RequestTimeoutError, 408),
    ("409", Reply(status=409), ServerError, 409),
    ("413", Reply(status=413), ContextWindowError, 413),
    ("422", Reply(status=422), InvalidRequestError, 422),
    ("429", Reply(status=429), RateLimitError, 429),
    ("500", Reply(status=500), ServerError, 500),
    (
        "502",
        Reply(status=502, garbage=True),
        ServerError,
        502,
    ),
    ("503", Reply(status=503), ServerError, 503),
    ("529", Reply(status=529), ServerError, 529),
    ("context-window", Reply(error="context_window"), ContextWindowError, 400),
    ("content-filter", Reply(error="content_filter"), ContentFilterError, 400),
]
EACH_REFUSAL = pytest.mark.parametrize(
    ("reply", "kind", "status"),
    [row[1:] for row in REFUSALS],
    ids=[row[0] for row in REFUSALS],
)


async def drained(provider: LLMProvider, **arguments: Any) -> list[str]:
    """Read a stream to its end."""
    return [piece async for piece in provider.stream("hi", **arguments)]


@EACH_REFUSAL
async def test_refusal_has_its_class_and_status(
    server: StubServer, provider: LLMProvider, reply: Reply, kind: type[APIError], status: int
) -> None:
    server.script(reply)
    with pytest.raises(APIError) as caught:
        await provider.complete("hi")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.provider) == (status, "it")
    assert len(server.requests) == 1


@EACH_REFUSAL
async def test_refused_stream_has_the_same_class_and_status(
    server: StubServer, provider: LLMProvider, reply: Reply, kind: type[APIError], status: int
) -> None:
    server.script(reply)
    with pytest.raises(APIError) as caught:
        await drained(provider)
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert len(server.requests) == 1


async def test_used_up_quota_is_no_rate_limit(
    lane: Lane, server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(error="quota"))
    with pytest.raises(PermissionDeniedError) as caught:
        await provider.complete("hi")
    assert not caught.value.retryable


@pytest.mark.parametrize("retry_after", ["7", "7.0"])
async def test_rate_limit_says_how_long_to_wait(
    server: StubServer, provider: LLMProvider, retry_after: str
) -> None:
    refusal = Reply(status=429, retry_after=retry_after)
    server.script(refusal, refusal)
    with pytest.raises(RateLimitError) as whole:
        await provider.complete("hi")
    assert whole.value.retry_after_s == 7.0


async def test_refused_stream_says_how_long_to_wait(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(status=429, retry_after="7"))
    with pytest.raises(RateLimitError) as caught:
        await drained(provider)
    assert caught.value.retry_after_s == 7.0


async def test_error_names_the_providers_request(server: StubServer, provider: LLMProvider) -> None:
    server.script(Reply(status=500))
    with pytest.raises(ServerError) as caught:
        await provider.complete("hi")
    assert caught.value.request_id == "req_stub0000000000000000"


async def test_error_keeps_the_providers_own_words(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(status=400, error="the frobnicator is off"))
    with pytest.raises(InvalidRequestError, match="the frobnicator is off"):
        await provider.complete("hi")


async def test_wrong_key_is_an_authentication_error(lane: Lane, server: StubServer) -> None:
    config = configured(lane, lane.base_url(server), key="wrong-key-0123456789")
    async with opened(config) as registry:
        with pytest.raises(AuthenticationError):
            await registry.get("it").complete("hi")


async def test_missing_model_is_not_found(
    lane: Lane, server: StubServer, provider: LLMProvider
) -> None:
    prefix = "".join(lane.model.rpartition("/")[:2])
    with pytest.raises(ModelNotFoundError):
        await provider.complete("hi", model=f"{prefix}missing-model")


async def test_refused_connection_is_a_connection_error(lane: Lane) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    config = configured(lane, f"http://127.0.0.1:{port}/v1")
    async with opened(config) as registry:
        with pytest.raises(APIConnectionError) as whole:
            await registry.get("it").complete("hi")
        with pytest.raises(APIConnectionError):
            await drained(registry.get("it"))
    assert whole.value.status is None
    assert whole.value.retryable
    assert not whole.value.may_be_billed


async def test_connection_that_is_reset_is_a_connection_error(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(reset=True), Reply(reset=True))
    with pytest.raises(APIConnectionError):
        await provider.complete("hi")
    with pytest.raises(APIConnectionError):
        await drained(provider)


async def test_reset_connection_is_not_tried_again_in_the_dark(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(reset=True))
    with pytest.raises(APIConnectionError):
        await provider.complete("hi")
    assert len(server.requests) == 1


async def test_answer_cut_in_the_middle_may_be_billed(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(cut_after=0))
    with pytest.raises(APIConnectionError) as caught:
        await provider.complete("hi")
    assert caught.value.may_be_billed


async def test_call_that_takes_too_long_times_out(
    server: StubServer, provider: LLMProvider
) -> None:
    await provider.complete("hi")  # LiteLLM is imported
    server.script(Reply(slow_headers_s=30))
    with pytest.raises(RequestTimeoutError):
        await provider.complete("hi", timeout_s=1)
    await server.wait_idle()
    assert server.account.outcomes == {"whole": 1, "client_left": 1}


@pytest.mark.parametrize("reply", [Reply(slow_headers_s=30), Reply(delay_s=30)])
async def test_stream_without_output_in_time_times_out(
    server: StubServer, provider: LLMProvider, reply: Reply
) -> None:
    await provider.complete("hi")  # LiteLLM is imported
    server.script(reply)
    with pytest.raises(RequestTimeoutError):
        await drained(provider, timeout_s=1)
    await server.wait_idle()
    assert server.account.outcomes == {"whole": 1, "client_left": 1}


async def test_deadline_ends_with_the_first_output(
    server: StubServer, provider: LLMProvider
) -> None:
    await provider.complete("hi")  # LiteLLM is imported
    server.script(Reply(text="one two three", chunk_delay_s=0.4))
    assert await drained(provider, timeout_s=1) == ["one ", "two ", "three"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(garbage=True),
        Reply(raw_body=b""),
        Reply(raw_body=b'{"choices": 7, "content": 7}'),
        Reply(raw_body=b"[]"),
        Reply(raw_body=b"\xff\xfe\x00"),
        Reply(text="hello", eof_after=0),
    ],
    ids=["html", "empty", "other-shape", "list", "bytes", "half"],
)
async def test_body_of_no_protocol_is_an_invalid_response(
    server: StubServer, provider: LLMProvider, reply: Reply
) -> None:
    server.script(reply)
    with pytest.raises(InvalidResponseError) as caught:
        await provider.complete("hi")
    assert caught.value.may_be_billed


async def test_error_inside_a_200_is_the_error(server: StubServer, provider: LLMProvider) -> None:
    server.script(Reply(inline_error=True, status=529), Reply(inline_error=True, status=529))
    with pytest.raises(ServerError):
        await provider.complete("hi")


async def interrupted(provider: LLMProvider) -> tuple[str, StreamInterruptedError]:
    """Read a stream that breaks off; return what came, and the error."""
    text = ""
    try:
        async for event in provider.stream("hi").events():
            text += event.text if isinstance(event, TextDelta) else ""
    except StreamInterruptedError as error:
        return text, error
    pytest.fail("the stream did not break off")


BREAKS: list[tuple[str, dict[str, Any]]] = [
    ("cut", {"cut_after": 2}),
    ("reset", {"cut_after": 2, "reset": True}),
    ("eof", {"eof_after": 2}),
    ("error", {"error_after": 2}),
]


@pytest.mark.parametrize("fault", [row[1] for row in BREAKS], ids=[row[0] for row in BREAKS])
async def test_stream_that_breaks_off_keeps_what_came(
    server: StubServer, registry: ProviderRegistry, fault: dict[str, Any]
) -> None:
    server.script(Reply(text="one two three", **fault))
    text, error = await interrupted(registry.get("it"))
    assert (text, error.text) == ("one two ", "one two ")
    assert (error.provider, error.may_be_billed) == ("it", True)
    assert len(server.requests) == 1
    total = registry.get_usage_summary()["total"]
    assert (total["attempts"], total["calls"]) == (1, 0)
    assert total["output_tokens"] > 0


@pytest.mark.parametrize("lane", ANTHROPIC_LANES, ids=LANE_NAME, indirect=True)
async def test_cut_stream_carries_the_usage_that_was_reported(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(text="one two three", usage=Usage(100, 20, cache_read=40), cut_after=2))
    _, error = await interrupted(provider)
    assert (error.usage.input_tokens, error.usage.cache_read) == (100, 40)


@pytest.mark.parametrize("lane", OPENAI_LANES, ids=LANE_NAME, indirect=True)
async def test_missing_last_mark_is_no_cut_once_the_finish_was_seen(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(text="one two", done=False))
    assert await drained(provider) == ["one ", "two"]


@pytest.mark.parametrize("fault", [{"eof_after": 0}, {"cut_after": 0}], ids=["eof", "cut"])
async def test_stream_that_ends_before_any_output_is_a_connection_error(
    server: StubServer, provider: LLMProvider, fault: dict[str, Any]
) -> None:
    server.script(Reply(text="one two", **fault))
    with pytest.raises(APIConnectionError) as caught:
        await drained(provider)
    assert not isinstance(caught.value, StreamInterruptedError)


async def test_error_event_before_any_output_is_the_error_itself(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(text="one two", error_after=0, error="overloaded", status=200))
    with pytest.raises(ServerError):
        await drained(provider)


@pytest.mark.parametrize(
    "reply",
    [Reply(garbage=True), Reply(raw_body=b""), Reply(raw_body=b"data: {\n\n")],
    ids=["html", "empty", "half-json"],
)
async def test_stream_of_no_protocol_is_an_error(
    server: StubServer, provider: LLMProvider, reply: Reply
) -> None:
    server.script(reply)
    with pytest.raises((InvalidResponseError, APIConnectionError)):
        await drained(provider)


async def test_silence_in_the_middle_ends_the_stream(lane: Lane, server: StubServer) -> None:
    server.script(Reply(text="one two three", stall_after=2))
    config = configured(lane, lane.base_url(server), idle_timeout_s=0.5)
    async with opened(config) as registry:
        text, error = await interrupted(registry.get("it"))
    assert (text, error.text) == ("one two ", "one two ")
    await server.wait_idle()


async def test_closing_a_stream_stops_the_provider(
    server: StubServer, registry: ProviderRegistry
) -> None:
    server.script(Reply(words=1000, chunk_delay_s=0.01))
    async with registry.get("it").stream("hi") as stream:
        assert await anext(stream) == "one "
        assert server.active == 1
    await server.wait_idle()
    assert server.account.outcomes == {"client_left": 1}
    total = registry.get_usage_summary()["total"]
    assert (total["attempts"], total["calls"], total["failed"]) == (1, 0, 0)


async def test_dropping_a_stream_stops_the_provider(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(words=1000, chunk_delay_s=0.01))
    stream = provider.stream("hi")
    assert await anext(stream) == "one "
    del stream
    await server.wait_idle()
    assert server.account.outcomes == {"client_left": 1}


@pytest.mark.parametrize("reply", [Reply(slow_headers_s=30), Reply(delay_s=30)])
async def test_cancelled_call_stops_the_provider_and_counts_against_nobody(
    server: StubServer, registry: ProviderRegistry, reply: Reply
) -> None:
    server.script(reply)
    task = asyncio.create_task(registry.get("it").complete("hi"))
    async with asyncio.timeout(30):
        while not server.active:  # noqa: ASYNC110 # LiteLLM may be importing
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.wait_idle()
    total = registry.get_usage_summary()["total"]
    assert (total["attempts"], total["failed"]) == (1, 0)


async def test_redirect_is_not_followed_with_the_key(
    server: StubServer, provider: LLMProvider
) -> None:
    server.script(Reply(status=302, headers={"Location": f"{server.url}/v1/models"}, raw_body=b""))
    with pytest.raises(ModelNotFoundError, match="redirects"):
        await provider.complete("hi")
    assert len(server.requests) == 1
