"""What is recorded on any lane is answered again from the file, with the server off."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestify import (
    APIError,
    CompletionRequest,
    EmbeddingResponse,
    InvalidParameterError,
    LLMMessage,
    LLMProvider,
    LLMResponse,
    OpenAIProvider,
    ProviderRegistry,
    RateLimitError,
    RecordingError,
    StreamEvent,
    StreamInterruptedError,
    Usage,
)
from orchestify.core.config import Config, parse_config
from orchestify.testing import Recordings, Reply, StubServer
from orchestify.values import NativeRequest, StreamEnd, ToolCall
from tests.lanes import (
    ANTHROPIC,
    ANTHROPIC_TOOL,
    KEY,
    LITELLMS_OWN_WARNINGS,
    RESPONSES,
    Lane,
    close_litellms_clients,
    collect_quietly,
    configured,
)

pytestmark = LITELLMS_OWN_WARNINGS
FORECAST = {"location": "Oslo", "days": 3}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
PICTURE = [
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
]


@asynccontextmanager
async def recorded(config: Config, path: Path) -> AsyncIterator[LLMProvider]:
    """Open a registry on a recording, as another run would, and give its provider."""
    async with ProviderRegistry.from_config(config, recordings=Recordings(path)) as registry:
        yield registry.get("it")
    await close_litellms_clients()
    collect_quietly(1)


def told(response: LLMResponse | EmbeddingResponse) -> Any:
    """Return what an answer is, without what each run and each header has of its own."""
    told = replace(response, headers={}, call_id="", latency_s=0.0, attempts=())
    if isinstance(told, LLMResponse):
        calls = tuple(replace(call, id="") for call in told.tool_calls)
        return replace(told, raw_response=None, tool_calls=calls), str(told.thinking or "")
    return told


async def pieces_of(provider: LLMProvider, messages: Any, **given: Any) -> list[Any]:
    """Read a stream's events, and return them with what is told of its answer."""
    async with provider.stream(messages, **given) as stream:
        events = [event async for event in stream.events()]
    end = events[-1]
    assert isinstance(end, StreamEnd)
    return [*events[:-1], told(end.response)]


async def conversation(provider: LLMProvider) -> list[Any]:
    """Call a tool, give its result, stream, fail and embed; return what came."""
    asked = [LLMMessage("user", "What is the weather?")]
    called = await provider.complete(asked, tools=[ANTHROPIC_TOOL], max_tokens=50)
    (call,) = called.tool_calls
    result = LLMMessage("tool", "Rain", tool_call_id=call.id)
    after = [*asked, called.to_message(), result]
    final = await provider.complete(after, tools=[ANTHROPIC_TOOL], max_tokens=50)
    pieces = await pieces_of(provider, "Say it in five words.", max_tokens=50)
    with pytest.raises(RateLimitError) as caught:
        await provider.complete("too much", max_tokens=50)
    limited = caught.value
    failed = (limited.args, limited.provider, limited.model, limited.status, limited.retry_after_s)
    with pytest.raises(StreamInterruptedError) as cut:
        await pieces_of(provider, "cut", max_tokens=50)
    try:
        embedded: Any = told(await provider.embed(["one", "two"], dimensions=4))
    except (InvalidParameterError, APIError) as error:  # Anthropic has none
        embedded = (type(error), error.args)
    return [told(called), told(final), pieces, failed, cut.value.text, embedded]


REPLIES = (
    Reply(tool_calls=(ToolCall("call_Ab3xYz90", "get_weather", FORECAST),), usage=Usage(50, 9)),
    Reply(text="It rains\nin Oslo.", usage=Usage(70, 6, cache_read=20)),
    Reply(text="It rains all the day.", usage=Usage(9, 5)),
    Reply(status=429, retry_after="0.01", headers={"request-id": "req_0123456789abcdef"}),
    Reply(text="one two three four five", cut_after=2),
    Reply(),
)


async def test_each_lane_is_answered_from_the_file_with_the_server_off(
    lane: Lane, tmp_path: Path
) -> None:
    path = tmp_path / "it.yaml"
    async with StubServer() as server:
        config = configured(lane, lane.base_url(server))
        server.script(*REPLIES)
        async with recorded(config, path) as provider:
            before = await conversation(provider)
        count = len(server.requests)
    written = path.read_bytes()
    async with recorded(config, path) as provider:
        assert await conversation(provider) == before
    assert (path.read_bytes(), len(server.requests)) == (written, count)
    assert before[0][0].tool_calls[0].arguments == FORECAST
    for secret in (KEY, "call_Ab3xYz90", "req_0123456789abcdef", "127.0.0.1", "date"):
        assert secret.encode() not in written


async def test_a_request_that_is_not_there_is_an_error_and_nothing_is_sent(
    lane: Lane, tmp_path: Path
) -> None:
    path = tmp_path / "it.yaml"
    async with StubServer() as server:
        config = configured(lane, lane.base_url(server))
        async with recorded(config, path) as provider:
            await provider.complete("What is a river?", max_tokens=50, temperature=0)
        async with recorded(config, path) as provider:
            with pytest.raises(RecordingError) as caught:
                await provider.complete("What is a brook?", max_tokens=60, temperature=0)
        assert len(server.requests) == 1
    assert str(caught.value) == (
        f"{path} has no answer to this complete of it; the nearest request, at line 4, differs in:"
        "\n  request.messages.0.content: a text of 16 characters here, a text of 16 characters "
        "recorded, the same up to character 10\n"
        "  request.max_tokens: 60 here, 50 recorded\n"
        "  `pytest --recordings=all` records it anew"
    )


@pytest.mark.parametrize("native_lane", [ANTHROPIC, RESPONSES], ids=lambda lane: lane.name)
async def test_a_request_in_the_words_of_a_protocol_is_answered_in_them(
    native_lane: Lane, tmp_path: Path
) -> None:
    path = tmp_path / "it.yaml"
    messages = {"max_tokens": 50, "messages": [{"role": "user", "content": PICTURE}]}
    responses = {"input": [{"role": "user", "content": "hi"}], "store": False}
    is_messages = native_lane.protocol == "anthropic"
    native = NativeRequest(
        "messages" if is_messages else "responses", messages if is_messages else responses
    )

    async def answers(config: Config) -> list[Any]:
        async with recorded(config, path) as provider:
            whole = await provider.complete("hi", native=native)
            async with provider.stream("hi", native=native) as stream:
                events = [event async for event in stream.events()]
            return [whole, *events]

    async with StubServer() as server:
        config = configured(native_lane, native_lane.base_url(server))
        server.script(Reply(text="one two"))
        before = await answers(config)
    after = await answers(config)
    written = path.read_text()
    assert PIXEL not in written
    assert "bytes: 60" in written or not is_messages
    assert [type(each) for each in after] == [type(each) for each in before]
    assert after[0].raw_response.keys() == before[0].raw_response.keys()
    assert after[0].raw_response["id"] != before[0].raw_response["id"]
    assert after[0].content == before[0].content == "one two"


CODE = """
providers:
  it: {type: external}
"""


class Own(LLMProvider):
    """A host's own provider."""

    provider_type = "own"

    def __init__(self) -> None:
        self.calls = 0

    async def complete(self, messages: Any, **given: Any) -> LLMResponse:  # type: ignore[override]
        self.calls += 1
        return LLMResponse(f"answer {self.calls}", "own-model", 3, 4, "stop")


async def own_answers(path: Path, provider: Own) -> list[str]:
    config = parse_config(CODE)
    async with ProviderRegistry.from_config(config, recordings=Recordings(path)) as registry:
        registry.register("it", provider)
        it = registry.get("it")
        first, second = await it.complete("same"), await it.complete("same")
        async with it.stream("same") as stream:
            texts = [text async for text in stream]
        used = registry.get_usage_summary()["total"]
        return [first.content, second.content, *texts, str(used["total_tokens"])]


async def test_a_hosts_own_provider_is_recorded_and_repeated_requests_keep_their_order(
    tmp_path: Path,
) -> None:
    first, second = Own(), Own()
    before = await own_answers(tmp_path / "own.yaml", first)
    after = await own_answers(tmp_path / "own.yaml", second)
    assert after == before == ["answer 1", "answer 2", "answer 3", "21"]
    assert (first.calls, second.calls) == (3, 0)


async def test_a_scripted_provider_is_recorded(tmp_path: Path) -> None:
    script = "providers: {it: {type: mock, options: {answers: [one, two]}}}"
    other = "providers: {it: {type: mock, options: {answers: [three]}}}"
    async with recorded(parse_config(script), tmp_path / "it.yaml") as provider:
        before = [await provider.complete("hi"), await provider.complete("hi")]
    async with recorded(parse_config(other), tmp_path / "it.yaml") as provider:
        after = [await provider.complete("hi"), await provider.complete("hi")]
    assert [each.content for each in after] == [each.content for each in before] == ["one", "two"]


class Loud(OpenAIProvider):
    """A provider of a host's own that does more than its base, and sends by it."""

    async def send(self, request: CompletionRequest) -> LLMResponse:
        answer = await super().send(request)
        return replace(answer, content=answer.content.upper())

    def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        return super().open_stream(request)


async def test_a_subclass_that_sends_itself_is_recorded_once(tmp_path: Path) -> None:
    async def answers(url: str) -> list[str]:
        settings = {"base_url": url, "api_key": KEY, "default_model": "stub"}
        recordings = Recordings(tmp_path / "it.yaml")
        async with ProviderRegistry.from_config(
            {"providers": {}}, recordings=recordings
        ) as registry:
            registry.register("it", Loud("it", settings))
            whole = await registry.get("it").complete("hi")
            async with registry.get("it").stream("hi") as stream:
                return [whole.content, *[text async for text in stream]]

    async with StubServer() as server:
        server.script(Reply(text="one"), Reply(text="two"))
        before = await answers(server.openai_url)
    assert await answers(server.openai_url) == before == ["ONE", "two"]
    assert written_in(tmp_path / "it.yaml").count("- ask:") == 2


def written_in(path: Path) -> str:
    return path.read_text()


KEYS = """
providers:
  it:
    type: openai
    api_keys: [key-number-one-0123, key-number-two-0123]
    default_model: stub
    base_url: {url}
agents:
  own: {{provider: it, api_key: key-of-the-agent-0123}}
  none: {{provider: it}}
retry: {{max_attempts: 1}}
"""


async def test_pools_of_keys_and_agents_with_their_own_are_recorded(tmp_path: Path) -> None:
    async def answers(url: str) -> list[str]:
        config, recordings = parse_config(KEYS.format(url=url)), Recordings(tmp_path / "it.yaml")
        async with ProviderRegistry.from_config(config, recordings=recordings) as registry:
            one = await registry.get_for_agent("none").complete("hi key-number-two-0123")
            two = await registry.get_for_agent("own").complete("hi key-of-the-agent-0123")
            return [one.content, two.content]

    async with StubServer() as server:
        server.script(Reply(status=401), Reply(text="one"), Reply(text="two"))
        before = await answers(server.openai_url)
        assert len(server.requests) == 3
    assert await answers(server.openai_url) == before == ["one", "two"]
    assert "key-" not in written_in(tmp_path / "it.yaml")


async def test_what_is_not_recorded_costs_nothing_and_goes_to_no_other_target(
    tmp_path: Path,
) -> None:
    price = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1}
    mock = {"type": "mock", "price": price, "default_model": "m"}
    config = {
        "providers": {"it": mock, "other": mock},
        "agents": {"asker": {"provider": "it", "fallback": ["other"]}},
        "budgets": [{"name": "all", "limit_usd": 1, "period": "day"}],
    }
    recordings = Recordings(tmp_path / "it.yaml", "none")
    async with ProviderRegistry.from_config(config, recordings=recordings) as registry:
        with pytest.raises(RecordingError, match="complete of it: nothing is recorded"):
            await registry.get_for_agent("asker").complete("hi")
        total = registry.get_usage_summary()["total"]
        (budget,) = registry.budgets()
    assert (total["attempts"], total["failed"], total["possible_usd"]) == (1, 1, 0)
    assert budget.spent_usd + budget.possible_usd == 0


async def test_lists_of_models_and_counts_are_recorded_and_their_last_answer_repeats(
    tmp_path: Path,
) -> None:
    recordings = tmp_path / "it.yaml"
    async with StubServer() as server:
        config = configured(ANTHROPIC, server.anthropic_url)
        async with recorded(config, recordings) as provider:
            models = await provider.list_models()
            count = await provider.count_tokens_exact("one two three")
    async with recorded(config, recordings) as provider:
        for _ in range(2):
            assert await provider.list_models() == models
            assert await provider.count_tokens_exact("one two three") == count
    assert models


async def test_connectivity_is_validated_from_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "it.yaml"
    with StubServer.in_thread() as server:
        config = configured(ANTHROPIC, server.anthropic_url)
        async with ProviderRegistry.from_config(config, True, recordings=Recordings(path)):
            assert len(server.requests) == 1
    recordings = Recordings(path)
    async with ProviderRegistry.from_config(config, True, recordings=recordings) as registry:
        assert registry.list_providers() == ["it"]


async def test_a_reload_keeps_the_recording(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path / "it.yaml")
    async with StubServer() as server:
        config = configured(ANTHROPIC, server.anthropic_url)
        other = configured(ANTHROPIC, server.anthropic_url, key="another-key-0123456789")

        async def answers(recordings: Recordings) -> list[str]:
            async with ProviderRegistry.from_config(config, recordings=recordings) as registry:
                first = await registry.get("it").complete("one")
                await registry.reload(other)
                second = await registry.get_for_agent("plain").complete("two")
                return [first.content, second.content]

        before = await answers(recordings)
        assert await answers(Recordings(tmp_path / "it.yaml", "none")) == before
        assert len(server.requests) == 2
