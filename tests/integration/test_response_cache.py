"""Answers kept for equal requests, end to end, wherever they are kept."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from orchestify import (
    InvalidParameterError,
    InvalidRequestError,
    LLMProvider,
    LLMResponse,
    ProviderRegistry,
    ServerError,
    StreamInterruptedError,
    StructuredOutputError,
    scope,
)
from orchestify.core.config import parse_config
from orchestify.providers.shared import SharedParts
from orchestify.response_cache.caches import ResponseCaches
from orchestify.testing import Reply, StubServer
from orchestify.values import StreamEnd, TextDelta, ThinkingDelta, ToolCall, ToolCallDelta, Usage
from tests.ledgers import postgres_schema, sqlite_rows, until
from tests.redis_server import REDIS, redis_prefix
from tests.registries import registry_on

ON = {"response_cache": True}
PRICE = {"price": {"input_usd_per_mtok": 1_000_000, "output_usd_per_mtok": 0}}
LOOK = {"name": "look", "input_schema": {"type": "object", "properties": {"city": {}}}}
OPEN_FOR_EVER = Reply(stall_after=2, chunks=5)


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "postgres", "redis"])
def kept_at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a configuration says at its top, so that answers are kept there."""
    with ExitStack() as stack:
        if request.param == "redis":
            stack.enter_context(redis_prefix())  # skips without Redis
            yield {"response_cache": {"at": "redis", "url": REDIS}}
        elif request.param == "memory":
            yield {"response_cache": True}
        else:
            url = f"sqlite:///{tmp_path}/usage.db"
            if request.param == "postgres":
                url = stack.enter_context(postgres_schema())
            yield {"response_cache": {"at": "ledger"}, "ledger": {"url": url}}


async def test_an_equal_request_is_answered_without_another(
    server: StubServer, kept_at: dict[str, Any]
) -> None:
    async with registry_on(server, {"it": PRICE}, **kept_at) as registry:
        first = await registry.get("it").complete("hello there", temperature=1)
        second = await registry.get("it").complete(
            [{"role": "user", "content": "hello there"}], temperature=1
        )
    assert server.account.received == 1
    assert (second.content, second.raw_response) == (first.content, first.raw_response)
    assert (second.is_cached, second.cost_usd, second.usage) == (True, 0, Usage())
    assert (second.saved_usd, first.cost_usd) == (6, 6)
    assert [(each.provider, each.outcome) for each in second.attempts] == [("it", "cached")]
    assert second.call_id not in ("", first.call_id)


async def test_64_equal_calls_at_once_are_one_request(
    server: StubServer, kept_at: dict[str, Any]
) -> None:
    server.script(Reply(delay_s=0.2))
    async with registry_on(server, {"it": {}}, **kept_at) as registry:
        provider = registry.get("it")
        answers = await asyncio.gather(*(provider.complete("the same") for _ in range(64)))
        total = registry.get_usage_summary()["total"]
    assert server.account.received == 1
    assert len({each.content for each in answers}) == 1
    assert (total["calls"], total["attempts"], total["cached"]) == (1, 1, 63)


async def test_64_equal_streams_at_once_are_one_request(
    server: StubServer, kept_at: dict[str, Any]
) -> None:
    async with registry_on(server, {"it": {}}, **kept_at) as registry:
        provider = registry.get("it")
        texts = await asyncio.gather(*(read(provider, "the same") for _ in range(64)))
    assert server.account.received == 1
    assert len(set(texts)) == 1


async def test_a_stream_is_replayed_piece_by_piece(
    server: StubServer, kept_at: dict[str, Any]
) -> None:
    call = ToolCall("call_1", "look", {"city": "Oslo"}, '{"city": "Oslo"}')
    server.script(Reply(text="one two three", thinking="well now", tool_calls=(call,)))
    async with registry_on(server, {"it": {"type": "anthropic"}}, **kept_at) as registry:
        ask = {"tools": [LOOK], "thinking": True}
        first = await events_of(registry.get("it"), **ask)
        second = await events_of(registry.get("it"), **ask)
    assert server.account.received == 1
    assert second[:-1] == first[:-1]
    kinds = {type(each) for each in first}
    assert kinds == {TextDelta, ThinkingDelta, ToolCallDelta, StreamEnd}
    whole, replayed = first[-1].response, second[-1].response
    assert replayed.tool_calls == whole.tool_calls
    assert replayed.thinking.blocks == whole.thinking.blocks
    assert whole.thinking.blocks[0]["signature"]
    assert (replayed.is_cached, whole.is_cached) == (True, False)


async def test_a_hit_is_a_record_of_its_own_kind(server: StubServer, tmp_path: Path) -> None:
    ledger = {"url": f"sqlite:///{tmp_path}/usage.db"}
    async with registry_on(server, {"it": PRICE}, ledger=ledger, **ON) as registry:
        for _ in range(3):
            await registry.get("it").complete("hello there")
        report = await registry.usage("model")
        summary = registry.get_usage_summary()["by_provider"]["it"]
        counted = registry.get("it").get_usage()
    total = report.total
    assert (total.calls, total.attempts, total.cached) == (1, 1, 2)
    assert (total.cost_usd, total.saved_usd) == (6, 12)
    assert (summary["calls"], summary["cached"], summary["saved_usd"]) == (1, 2, 12.0)
    assert (counted.call_count, counted.total_input) == (1, 6)
    query = (
        "SELECT outcome, input_tokens, cost_usd, cost_source, saved_picousd, error "
        "FROM usage_records ORDER BY id"
    )
    assert sqlite_rows(tmp_path / "usage.db", query) == [
        ("ok", 6, 6.0, "config", None, ""),
        ("cached", 0, 0.0, "cache", 6 * 10**12, ""),
        ("cached", 0, 0.0, "cache", 6 * 10**12, ""),
    ]


async def test_a_hit_has_the_labels_of_where_its_stream_was_asked_for(server: StubServer) -> None:
    async with registry_on(server, {"it": PRICE}, **ON) as registry:
        for _ in range(2):
            with scope(run="r1"):
                stream = registry.get("it").stream("hello there")
            assert [piece async for piece in stream]
        report = await registry.usage("label:run")
    assert [(row.key, row.total.attempts, row.total.cached) for row in report.rows] == [
        (("r1",), 1, 1)
    ]


async def test_a_hit_is_a_line_of_the_log_without_its_text(
    server: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.script(Reply(text="a secret word"))
    async with registry_on(server, {"it": PRICE}, **ON) as registry:
        await registry.get("it").complete("hello there")
        with caplog.at_level(logging.DEBUG, "orchestify"):
            await registry.get("it").complete("hello there")
    (line,) = [each.getMessage() for each in caplog.records if each.name == "orchestify.calls"]
    assert line.startswith("answer_cached call_id=")
    assert "provider=it model=it agent= saved_usd=6 latency_s=" in line
    assert "secret" not in caplog.text
    assert "hello" not in caplog.text


async def test_a_hit_counts_in_no_limit_and_no_budget(server: StubServer) -> None:
    top = {
        "rate_limit": {"requests_per_day": 1},
        "budgets": [{"name": "all", "limit_calls": 1, "limit_usd": 11, "period": "ever"}],
    }
    async with registry_on(server, {"it": PRICE}, **top, **ON) as registry:
        for _ in range(5):
            await registry.get("it").complete("hello there")
        (budget,) = registry.budgets()
    assert (budget.spent_calls, budget.spent_usd) == (1, 6)


async def test_a_hit_needs_no_provider_that_is_well(server: StubServer) -> None:
    breaker = {"failures": 1, "window_s": 60, "open_s": 600, "max_open_s": 600}
    async with registry_on(server, {"it": {}}, circuit_breaker=breaker, **ON) as registry:
        await registry.get("it").complete("hello")
        server.script(*[Reply(status=500)] * 5)
        with pytest.raises(ServerError):
            await registry.get("it").complete("something else")
        again = await registry.get("it").complete("hello")
        health = registry.get_health()["it"]
    assert again.is_cached
    assert health.error_rate > 0


async def test_it_is_off_by_default(server: StubServer) -> None:
    async with registry_on(server, {"it": {}}) as registry:
        for _ in range(2):
            await registry.get("it").complete("hello")
    assert server.account.received == 2


@pytest.mark.parametrize("level", ["top", "provider", "agent"])
async def test_each_level_may_turn_it_on(server: StubServer, level: str) -> None:
    top = ON if level == "top" else {}
    provider = ON if level == "provider" else {}
    agent = {"provider": "it"} | (ON if level == "agent" else {})
    async with registry_on(server, {"it": provider}, {"a": agent}, **top) as registry:
        for _ in range(2):
            await registry.get_for_agent("a").complete("hello")
    assert server.account.received == 1


async def test_an_agent_may_turn_it_off(server: StubServer) -> None:
    agents = {"a": {"provider": "it", "response_cache": False}}
    async with registry_on(server, {"it": {}}, agents, **ON) as registry:
        for _ in range(2):
            await registry.get_for_agent("a").complete("hello")
    assert server.account.received == 2


async def test_a_call_may_leave_it_out_or_refresh_it(server: StubServer) -> None:
    server.script(*(Reply(text=text) for text in ("one", "two", "three")))
    async with registry_on(server, {"it": {}}, **ON) as registry:
        provider = registry.get("it")
        choices: list[Any] = [None, False, True, "refresh", None]
        texts = [(await provider.complete("hi", response_cache=each)).content for each in choices]
        with pytest.raises(InvalidParameterError, match="true, false or 'refresh'"):
            await provider.complete("hi", response_cache="never")  # type: ignore[arg-type]
    assert texts == ["one", "two", "one", "three", "three"]


@pytest.mark.parametrize(
    "other",
    [
        {"messages": "hello!"},
        {"temperature": 0.5},
        {"max_tokens": 7},
        {"model": "another"},
        {"top_p": 0.5},
        {"stop": "x"},
        {"seed": 1},
        {"tools": [LOOK]},
        {"thinking": "low"},
        {"response_format": {"type": "json_object"}},
        {"options": {"user": "u-2"}},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_what_may_change_the_answer_is_in_the_key(
    server: StubServer, other: dict[str, Any]
) -> None:
    server.respond = lambda _: Reply(text="{}")
    async with registry_on(server, {"it": {}}, **ON) as registry:
        provider = registry.get("it")
        await provider.complete("hello")
        again = await provider.complete(**{"messages": "hello", **other})
        stream = provider.stream("hello")
        async with stream:
            async for _ in stream:
                pass
    assert not again.is_cached
    assert not stream.response.is_cached
    assert server.account.received == 3


@pytest.mark.parametrize(
    "other",
    [
        {"api_key": "sk-another-key-of-another-account"},
        {"headers": {"openai-organization": "another"}},
        {"options": {"service_tier": "flex"}},
        {"base_url": "/v1/?deployment=2"},
        {"api": "responses"},
        {"type": "anthropic", "base_url": ""},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_so_is_where_it_goes_and_as_whom(server: StubServer, other: dict[str, Any]) -> None:
    changed = {"default_model": "m", **other}
    if "base_url" in changed:
        changed["base_url"] = server.url + changed["base_url"]
    async with registry_on(server, {"it": {"default_model": "m"}, "other": changed}, **ON) as both:
        await both.get("it").complete("hello")
        assert not (await both.get("other").complete("hello")).is_cached
    assert server.account.received == 2


async def test_two_providers_to_one_place_share_an_answer(server: StubServer) -> None:
    same = {"default_model": "m"}
    async with registry_on(server, {"it": same, "other": same}, **ON) as registry:
        await registry.get("it").complete("hello")
        second = await registry.get("other").complete("hello")
    assert (second.is_cached, second.provider, server.account.received) == (True, "other", 1)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(text="cut off", finish_reason="length"),
        Reply(text="no", finish_reason="content_filter"),
        Reply(refusal="I cannot do that"),
    ],
    ids=["cut", "filtered", "refused"],
)
async def test_an_answer_that_is_not_whole_is_asked_for_again(
    server: StubServer, reply: Reply
) -> None:
    server.script(reply, Reply(text="whole"))
    async with registry_on(server, {"it": {}}, **ON) as registry:
        await registry.get("it").complete("hello")
        assert (await registry.get("it").complete("hello")).content == "whole"


async def test_a_failure_is_asked_for_again(server: StubServer) -> None:
    server.script(*[Reply(status=400)], Reply(text="whole"))
    async with registry_on(server, {"it": {}}, **ON) as registry:
        with pytest.raises(InvalidRequestError):
            await registry.get("it").complete("hello")
        assert (await registry.get("it").complete("hello")).content == "whole"


async def test_where_the_one_that_asks_fails_the_others_ask_for_themselves(
    server: StubServer,
) -> None:
    server.script(Reply(status=400, slow_headers_s=0.2))
    async with registry_on(server, {"it": {}}, **ON) as registry:
        provider = registry.get("it")
        ends = await asyncio.gather(
            *(provider.complete("hello") for _ in range(4)), return_exceptions=True
        )
    assert [isinstance(each, Exception) for each in ends] == [True, False, False, False]
    assert server.account.received == 4


async def test_where_the_one_that_asks_is_cancelled_another_asks(server: StubServer) -> None:
    server.script(Reply(slow_headers_s=600))
    async with registry_on(server, {"it": {}}, **ON) as registry:
        provider = registry.get("it")
        leader = asyncio.create_task(provider.complete("hello"))
        await until(lambda: server.active == 1)
        others = [asyncio.create_task(provider.complete("hello")) for _ in range(4)]
        await asyncio.sleep(0)
        leader.cancel()
        answers = await asyncio.gather(*others)
    assert sorted(each.is_cached for each in answers) == [False, True, True, True]
    assert server.account.received == 2


async def test_where_the_reader_of_a_stream_leaves_another_asks(server: StubServer) -> None:
    server.script(OPEN_FOR_EVER)
    async with registry_on(server, {"it": {}}, **ON) as registry:
        provider = registry.get("it")
        leader = provider.stream("hello")
        await anext(leader)
        others = [asyncio.create_task(read(provider, "hello")) for _ in range(3)]
        await asyncio.sleep(0)
        await leader.aclose()
        texts = await asyncio.gather(*others)
        again = await read(provider, "hello")
    assert len({*texts, again}) == 1
    assert server.account.received == 2


async def test_a_cut_stream_is_not_kept(server: StubServer) -> None:
    server.script(Reply(chunks=5, cut_after=2), Reply(text="whole"))
    async with registry_on(server, {"it": {}}, **ON) as registry:
        with pytest.raises(StreamInterruptedError):
            await read(registry.get("it"), "hello")
        assert await read(registry.get("it"), "hello") == "whole"


async def test_an_answer_is_kept_although_its_first_attempt_failed(server: StubServer) -> None:
    server.script(Reply(status=500), Reply(status=500), model="a")
    agents = {"it": {"provider": "a", "fallback": ["b"]}}
    async with registry_on(server, {"a": {}, "b": {}}, agents, **ON) as registry:
        provider = registry.get_for_agent("it")
        assert (await provider.complete("hello")).provider == "b"
        server.script(Reply(status=500), Reply(status=500), model="a")
        again = await provider.complete("hello")
    assert [each.outcome for each in again.attempts] == ["failed", "failed", "cached"]
    assert (again.provider, again.is_cached) == ("b", True)


class City(BaseModel):
    """A form for answers."""

    name: str


async def test_a_kept_answer_is_read_in_the_form_of_its_call(server: StubServer) -> None:
    server.script(Reply(text='{"name": "Oslo"}'))
    async with registry_on(server, {"it": {}}, **ON) as registry:
        provider = registry.get("it")
        await provider.complete("hello", response_format=City)
        again = await provider.complete("hello", response_format=City)
    assert (again.parsed, again.is_cached) == (City(name="Oslo"), True)


async def test_an_answer_without_its_form_is_not_kept(server: StubServer) -> None:
    server.script(Reply(text="Oslo"), Reply(text='{"name": "Oslo"}'))
    async with registry_on(server, {"it": {}}, **ON) as registry:
        provider = registry.get("it")
        with pytest.raises(StructuredOutputError):
            await provider.complete("hello", response_format=City)
        again = await provider.complete("hello", response_format=City)
    assert (again.parsed, again.is_cached) == (City(name="Oslo"), False)


async def test_tokens_of_a_run_are_those_that_were_used(server: StubServer) -> None:
    async with registry_on(server, {"it": PRICE}, **ON) as registry:
        provider = registry.get("it")
        first = await provider.run("hello there", [])
        second = await provider.run("hello there", [])
        asked = await provider.run("hello there", [], response_cache=False)
    assert (first.usage.call_count, second.usage.call_count, asked.usage.call_count) == (1, 0, 1)
    assert (second.usage.total_input, second.cost_usd) == (0, 0)


async def test_what_is_kept_is_dropped_on_demand(
    server: StubServer, kept_at: dict[str, Any]
) -> None:
    config = json.loads(json.dumps(kept_at))
    async with registry_on(server, {"it": {}}, **config) as registry:
        await registry.get("it").complete("hello")
        assert await registry.clear_response_cache() >= 1
        assert not (await registry.get("it").complete("hello")).is_cached


async def test_it_is_in_the_ledger_after_a_restart(server: StubServer, tmp_path: Path) -> None:
    top = {
        "response_cache": {"at": "ledger"},
        "ledger": {"url": f"sqlite:///{tmp_path}/usage.db"},
    }
    async with registry_on(server, {"it": {}}, **top) as registry:
        await registry.get("it").complete("hello")
    async with registry_on(server, {"it": {}}, **top) as registry:
        assert (await registry.get("it").complete("hello")).is_cached


async def test_the_ledger_holds_no_text_in_clear_where_there_is_a_key(
    server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENCRYPTION_KEY", "awUYdnsTSfEbysD9lcFozCsIjOJdKqRQq9k8NfxiHII=")
    server.script(Reply(text="a secret word"))
    top = {
        "response_cache": {"at": "ledger"},
        "ledger": {"url": f"sqlite:///{tmp_path}/usage.db"},
    }
    async with registry_on(server, {"it": {}}, **top) as registry:
        await registry.get("it").complete("hello")
        again = await registry.get("it").complete("hello")
    assert (again.content, again.is_cached) == ("a secret word", True)
    ((kept,),) = sqlite_rows(tmp_path / "usage.db", "SELECT answer FROM kept_answers")
    assert kept.startswith("gAAAA")
    assert b"secret word" not in (tmp_path / "usage.db").read_bytes()


async def test_a_ledger_in_memory_keeps_answers_in_memory(server: StubServer) -> None:
    async with registry_on(server, {"it": {}}, response_cache={"at": "ledger"}) as registry:
        await registry.get("it").complete("hello")
        assert (await registry.get("it").complete("hello")).is_cached


async def test_registries_with_other_settings_share_nothing(server: StubServer) -> None:
    providers = {"it": ON, "other": {"response_cache": {"ttl_s": 60}, "default_model": "it"}}
    async with registry_on(server, providers) as registry:
        await registry.get("it").complete("hello")
        assert not (await registry.get("other").complete("hello")).is_cached


async def test_an_answer_ends_with_its_time(server: StubServer) -> None:
    async with registry_on(server, {"it": {}}, response_cache={"ttl_s": 0.5}) as registry:
        await registry.get("it").complete("hello")
        while (await registry.get("it").complete("hello")).is_cached:
            pass
    assert server.account.received == 2


async def test_who_changes_an_answer_changes_no_other(server: StubServer) -> None:
    async with registry_on(server, {"it": {}}, **ON) as registry:
        for _ in range(2):
            response = await registry.get("it").complete("hello")
            assert "changed" not in response.raw_response
            response.raw_response["changed"] = True


async def test_embeddings_are_not_kept(server: StubServer) -> None:
    async with registry_on(server, {"it": {}}, **ON) as registry:
        for _ in range(2):
            await registry.get("it").embed("hello")
    assert server.account.received == 2


class Own(LLMProvider):
    """A host's own provider, which counts its calls."""

    calls = 0

    async def complete(self, messages: Any, model: Any = None, **_: Any) -> Any:  # type: ignore[override]
        self.calls += 1
        return LLMResponse("mine", "m", 1, 1, "stop")


async def test_a_hosts_own_provider_is_asked_once() -> None:
    config = {"providers": {"mine": {"type": "external"}}, **ON}
    registry = ProviderRegistry.from_config(parse_config(json.dumps(config)))
    own = Own()
    async with registry:
        registry.register("mine", own)
        for _ in range(2):
            answer = await registry.get("mine").complete("hello")
    assert (own.calls, answer.content, answer.is_cached) == (1, "mine", True)


async def test_tenants_share_nothing(server: StubServer) -> None:
    config = json.dumps(
        {
            "providers": {
                "it": {
                    "type": "openai",
                    "base_url": server.openai_url,
                    "api_key": "sk-a-key-of-them-all",
                    "default_model": "m",
                    "response_cache": {"at": "redis", "url": REDIS},
                }
            }
        }
    )
    with redis_prefix() as prefix:
        for tenant in ("a", "b", "a"):
            caches = ResponseCaches(TenantsLedger(tenant), prefix=prefix)
            shared = SharedParts(caches=caches)
            async with ProviderRegistry.assemble(parse_config(config), shared) as registry:
                await registry.get("it").complete("hello")
    assert server.account.received == 2


class TenantsLedger:
    """A ledger in memory that is a tenant's."""

    database = None

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant


async def read(provider: LLMProvider, prompt: str) -> str:
    """The text of a stream."""
    async with provider.stream(prompt) as stream:
        return "".join([text async for text in stream])


async def events_of(provider: LLMProvider, **given: Any) -> list[Any]:
    """All events of a stream."""
    async with provider.stream("hello", **given) as stream:
        return [event async for event in stream.events()]
