"""Spans and metrics of real calls to a stub server, as OpenTelemetry's SDK exports them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from orchestify import (
    AllTargetsFailedError,
    AuthenticationError,
    ProviderRegistry,
    StreamInterruptedError,
)
from orchestify.core.config import parse_config
from orchestify.telemetry import Telemetry
from orchestify.testing import Reply, StubServer
from orchestify.values import Usage
from tests.lanes import KEY
from tests.ledgers import until
from tests.registries import registry_on

PRICE = {"input_usd_per_mtok": 1000, "output_usd_per_mtok": 1000}
ANSWER = Reply(text="forty two", usage=Usage(10, 5, cache_read=4, reasoning=2), model="stub-1")


@dataclass
class Sdk:
    """OpenTelemetry's SDK with exporters in memory."""

    capture_content: bool = False
    spans_out: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    metrics_out: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    def __post_init__(self) -> None:
        self.tracers, self.meters = TracerProvider(), MeterProvider([self.metrics_out])
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans_out))
        self.telemetry = Telemetry(self.tracers, self.meters, capture_content=self.capture_content)

    @property
    def span(self) -> ReadableSpan:
        """The only span that has ended."""
        (span,) = self.spans_out.get_finished_spans()
        return span

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The only span's attributes."""
        return self.span.attributes or {}

    @property
    def events(self) -> list[tuple[Any, ...]]:
        """The only span's events: provider, model, outcome and error."""
        names = ("orchestify.provider", "gen_ai.request.model", "orchestify.outcome", "error.type")
        return [
            (event.name, *((event.attributes or {}).get(name) for name in names))
            for event in self.span.events
        ]

    def points(self, name: str) -> list[tuple[Mapping[str, Any], Any]]:
        """A metric's points: their attributes and the point."""
        data = self.metrics_out.get_metrics_data()
        return [
            (point.attributes or {}, point)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def text(self) -> str:
        """Everything that was exported, as text."""
        data = self.metrics_out.get_metrics_data()
        spans = self.spans_out.get_finished_spans()
        return "".join(each.to_json() for each in (*spans, *([data] if data else ())))


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as running:
        yield running


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    sdk = Sdk()
    yield sdk
    sdk.tracers.shutdown()
    sdk.meters.shutdown()


async def test_a_call_is_one_client_span(server: StubServer, sdk: Sdk) -> None:
    server.script(ANSWER)
    agents = {"planner": {"provider": "one", "model": "m", "temperature": 0.5, "stop": ["END"]}}
    async with registry_on(server, {"one": {"price": PRICE}}, agents) as registry:
        sdk.telemetry.watch(registry)
        planner = registry.get_for_agent("planner")
        response = await planner.complete("hi", max_tokens=100, top_p=0.9, seed=7)
    assert sdk.span.name == "chat m"
    assert sdk.span.kind is SpanKind.CLIENT
    assert sdk.span.status.status_code is StatusCode.UNSET
    assert dict(sdk.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.request.seed": 7,
        "gen_ai.response.model": "stub-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "orchestify.agent": "planner",
        "orchestify.call_id": response.call_id,
        "orchestify.provider": "one",
        "orchestify.outcome": "ok",
        "orchestify.cost_usd": 0.015,
    }
    assert sdk.events == [("orchestify.attempt", "one", "m", "ok", None)]


async def test_a_calls_metrics_have_the_conventions_attributes(
    server: StubServer, sdk: Sdk
) -> None:
    server.script(ANSWER)
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry)
        await registry.get("one").complete("hi")
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "one",
        "gen_ai.response.model": "stub-1",
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }
    ((attributes, duration),) = sdk.points("gen_ai.client.operation.duration")
    assert dict(attributes) == common
    assert (duration.count, duration.explicit_bounds[0]) == (1, 0.01)
    tokens = sdk.points("gen_ai.client.token.usage")
    assert [(dict(each), point.sum, point.count) for each, point in tokens] == [
        ({**common, "gen_ai.token.type": "input"}, 10, 1),
        ({**common, "gen_ai.token.type": "output"}, 5, 1),
    ]
    assert tokens[0][1].explicit_bounds[:3] == (1, 4, 16)
    assert sdk.points("gen_ai.client.operation.time_to_first_chunk") == []


async def test_a_fallback_is_an_event_and_its_tokens_are_the_answering_models(
    server: StubServer, sdk: Sdk
) -> None:
    server.script(Reply(status=500), Reply(status=500), model="one")
    server.script(ANSWER, model="two")
    agents = {"planner": {"provider": "one", "fallback": ["two"]}}
    async with registry_on(server, {"one": {}, "two": {"type": "anthropic"}}, agents) as registry:
        sdk.telemetry.watch(registry)
        await registry.get_for_agent("planner").complete("hi")
    assert sdk.span.name == "chat one"
    assert sdk.events == [
        ("orchestify.attempt", "one", "one", "failed", "ServerError"),
        ("orchestify.attempt", "one", "one", "failed", "ServerError"),
        ("orchestify.attempt", "two", "two", "ok", None),
    ]
    assert sdk.attributes["gen_ai.request.model"] == "one"
    assert sdk.attributes["orchestify.provider"] == "two"
    assert "error.type" not in sdk.attributes
    (usage, _), _ = sdk.points("gen_ai.client.token.usage")
    assert (usage["gen_ai.provider.name"], usage["gen_ai.request.model"]) == ("anthropic", "two")


async def test_a_failed_call_has_its_errors_class_and_no_message(
    server: StubServer, sdk: Sdk
) -> None:
    server.script(Reply(status=401, error="what the provider says"))
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry)
        with pytest.raises(AuthenticationError):
            await registry.get("one").complete("hi")
    assert sdk.span.status.status_code is StatusCode.ERROR
    assert sdk.span.status.description is None
    assert sdk.attributes["error.type"] == "AuthenticationError"
    ((attributes, _),) = sdk.points("gen_ai.client.operation.duration")
    assert attributes["error.type"] == "AuthenticationError"
    assert sdk.points("gen_ai.client.token.usage") == []
    assert "what the provider says" not in sdk.text()


async def test_where_all_targets_fail_every_one_is_an_event(server: StubServer, sdk: Sdk) -> None:
    server.script(Reply(status=401), Reply(status=401))
    agents = {"planner": {"provider": "one", "fallback": ["two"]}}
    async with registry_on(server, {"one": {}, "two": {}}, agents) as registry:
        sdk.telemetry.watch(registry)
        with pytest.raises(AllTargetsFailedError):
            await registry.get_for_agent("planner").complete("hi")
    assert [event[1] for event in sdk.events] == ["one", "two"]
    assert sdk.attributes["error.type"] == "AllTargetsFailedError"


async def test_a_stream_has_its_time_to_the_first_chunk(server: StubServer, sdk: Sdk) -> None:
    server.script(ANSWER)
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry)
        async with registry.get("one").stream("hi") as stream:
            [text async for text in stream]
    assert sdk.attributes["gen_ai.request.stream"] is True
    assert sdk.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert sdk.attributes["gen_ai.usage.output_tokens"] == 5
    ((attributes, point),) = sdk.points("gen_ai.client.operation.time_to_first_chunk")
    assert (attributes["gen_ai.response.model"], point.count) == ("stub-1", 1)


async def test_a_cut_stream_is_an_error(server: StubServer, sdk: Sdk) -> None:
    server.script(Reply(chunks=5, cut_after=2))
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry)
        with pytest.raises(StreamInterruptedError):
            [text async for text in registry.get("one").stream("hi")]
    assert sdk.events == [
        ("orchestify.attempt", "one", "one", "interrupted", "StreamInterruptedError")
    ]
    assert sdk.span.status.status_code is StatusCode.ERROR
    assert sdk.points("gen_ai.client.token.usage") == []  # estimated: the conventions want none


async def test_a_stream_let_go_is_cancelled_and_no_error(server: StubServer, sdk: Sdk) -> None:
    server.script(Reply(chunks=50, chunk_delay_s=0.01))
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry)
        async with registry.get("one").stream("hi") as stream:
            await anext(stream)
    assert sdk.attributes["orchestify.outcome"] == "cancelled"
    assert sdk.attributes["error.type"] == "CancelledError"
    assert sdk.span.status.status_code is StatusCode.UNSET


async def test_a_dropped_stream_has_its_span(server: StubServer, sdk: Sdk) -> None:
    server.script(Reply(chunks=50, chunk_delay_s=0.01))
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry)
        stream = registry.get("one").stream("hi")
        await anext(stream)
        del stream
        gc.collect()
        await asyncio.sleep(0.05)
    assert sdk.attributes["orchestify.outcome"] == "cancelled"


async def test_a_cancelled_call_has_its_span(server: StubServer, sdk: Sdk) -> None:
    server.script(Reply(delay_s=30))
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry)
        call = asyncio.create_task(registry.get("one").complete("hi"))
        await until(lambda: server.account.received == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert sdk.events == [("orchestify.attempt", "one", "one", "cancelled", None)]
    assert sdk.attributes["error.type"] == "CancelledError"


async def test_the_parent_is_the_span_that_is_current_at_the_call(
    server: StubServer, sdk: Sdk
) -> None:
    tracer = sdk.tracers.get_tracer("host")
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry)
        one = registry.get("one")

        async def work(name: str) -> None:
            with tracer.start_as_current_span(name):
                await one.complete("hi")
                async with one.stream("hi") as stream:
                    [text async for text in stream]

        await asyncio.gather(*(work(f"agent {number}") for number in range(5)))
        await one.complete("hi")
    spans = sdk.spans_out.get_finished_spans()
    hosts = {each.context.span_id for each in spans if each.name.startswith("agent")}
    parents = [each.parent.span_id for each in spans if each.name == "chat one" and each.parent]
    assert sorted(parents) == sorted([*hosts, *hosts])
    assert len(spans) == 16


async def test_a_calls_span_is_not_current_after_it(server: StubServer, sdk: Sdk) -> None:
    tracer = sdk.tracers.get_tracer("host")
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry)
        stream = registry.get("one").stream("hi")
        await anext(stream)
        tracer.start_span("beside").end()
        await stream.aclose()
    beside, _ = sdk.spans_out.get_finished_spans()
    assert (beside.name, beside.parent) == ("beside", None)


async def test_no_prompt_answer_or_key_is_told_by_default(server: StubServer, sdk: Sdk) -> None:
    server.script(Reply(text="the-answer"))
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry)
        await registry.get("one").complete("the-prompt")
    for secret in ("the-prompt", "the-answer", KEY):
        assert secret not in sdk.text()


async def test_prompts_and_answers_are_told_where_they_are_asked_for(server: StubServer) -> None:
    sdk = Sdk(capture_content=True)
    server.script(Reply(text="the-answer"))
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry)
        await registry.get("one").complete("the-prompt")
    assert sdk.attributes["gen_ai.input.messages"] == (
        '[{"role": "user", "parts": [{"type": "text", "content": "the-prompt"}]}]'
    )
    assert sdk.attributes["gen_ai.output.messages"] == (
        '[{"role": "assistant", "parts": [{"type": "text", "content": "the-answer"}], '
        '"finish_reason": "stop"}]'
    )
    assert KEY not in sdk.text()


async def test_metrics_have_no_ids_and_few_models(server: StubServer, sdk: Sdk) -> None:
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry)
        one = registry.get("one")
        calls = (one.complete("hi", model=f"made-up-{number}") for number in range(250))
        await asyncio.gather(*calls)
    durations = sdk.points("gen_ai.client.operation.duration")
    models = {attributes["gen_ai.request.model"] for attributes, _ in durations}
    assert len(models) == 201
    assert {name for attributes, _ in durations for name in attributes if "id" in name} == {
        "gen_ai.provider.name"
    }


async def test_a_tenants_name_is_on_its_spans_and_metrics(server: StubServer, sdk: Sdk) -> None:
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry, "acme")
        await registry.get("one").complete("hi")
    ((attributes, _),) = sdk.points("gen_ai.client.operation.duration")
    assert attributes["orchestify.tenant"] == "acme"
    assert sdk.attributes["orchestify.tenant"] == "acme"


async def test_what_ended_is_followed_no_more(server: StubServer, sdk: Sdk) -> None:
    async with registry_on(server, {"one": {}}) as registry:
        sdk.telemetry.watch(registry)()
        await registry.get("one").complete("hi")
    assert sdk.spans_out.get_finished_spans() == ()


async def test_without_an_sdk_a_call_is_as_ever(server: StubServer) -> None:
    async with registry_on(server, {"one": {}}) as registry:
        Telemetry().watch(registry)
        server.script(Reply(text="yes"))
        assert (await registry.get("one").complete("hi")).content == "yes"


def test_the_synchronous_face_has_the_same_parent(sdk: Sdk) -> None:
    registry = ProviderRegistry.from_config(
        parse_config("providers: {one: {type: mock, default_model: m}}")
    )
    sdk.telemetry.watch(registry)
    with sdk.tracers.get_tracer("host").start_as_current_span("agent"):
        registry.get("one").complete_sync("hi")
        list(registry.get("one").stream_sync("hi"))
    call, stream, host = sdk.spans_out.get_finished_spans()
    assert call.parent == stream.parent == host.context


async def test_an_answer_of_the_response_cache_uses_no_tokens(server: StubServer) -> None:
    server.script(ANSWER)
    sdk = Sdk()
    provider = {"price": PRICE, "response_cache": True}
    async with registry_on(server, {"it": provider}) as registry:
        await registry.get("it").complete("hi")
        sdk.telemetry.watch(registry)
        await registry.get("it").complete("hi")
    assert sdk.events == [("orchestify.attempt", "it", "it", "cached", None)]
    assert sdk.attributes["orchestify.outcome"] == "cached"
    assert sdk.attributes["orchestify.cost_usd"] == 0.0
    assert sdk.attributes["orchestify.saved_usd"] == 0.015
    assert sdk.attributes["gen_ai.usage.input_tokens"] == 0
    (duration,) = sdk.points("gen_ai.client.operation.duration")
    assert duration[0]["orchestify.outcome"] == "cached"
    assert sdk.points("gen_ai.client.token.usage") == []
