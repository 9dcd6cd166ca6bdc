"""`Telemetry`: follows calls with OpenTelemetry's spans and metrics."""

from __future__ import annotations

import os
import time
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

from orchestify.calls.tracing import Ending, TracedAttempt, TracedCall
from orchestify.providers.registry import ProviderRegistry
from orchestify.resources.extras import missing_extra
from orchestify.resources.series_labels import ModelLabels
from orchestify.telemetry.attributes import (
    CHAT,
    EMBEDDINGS,
    SECONDS,
    TOKENS,
    Names,
    Value,
    attempt_attributes,
    input_messages,
    output_messages,
    request_attributes,
    response_attributes,
    target_attributes,
    total_attributes,
)
from orchestify.values import EmbeddingRequest, EmbeddingResponse, LLMResponse

try:
    from opentelemetry import metrics, trace
except ImportError:
    raise missing_extra("telemetry needs OpenTelemetry's API", "otel") from None

Attributes: TypeAlias = Mapping[str, Value]
Answered: TypeAlias = LLMResponse | EmbeddingResponse

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CAPTURING = ("true", "1", "span_only", "span_and_event")


class Telemetry:
    """One CLIENT span `chat {model}` a call, with an event an attempt, and the client metrics.

        telemetry = Telemetry()
        telemetry.watch(registry)

    The providers are OpenTelemetry's global ones where none are given; without an SDK nothing
    happens. A span's parent is the span that is current where the call is awaited, or where its
    stream is first read. Prompts and answers are told with `capture_content` alone; left out,
    it is what the variable OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        capture_content: bool | None = None,
    ) -> None:
        if capture_content is None:
            capture_content = os.environ.get(CAPTURE, "").lower() in CAPTURING
        self.capture_content = capture_content
        self.labels = ModelLabels()
        self.tracer = trace.get_tracer("orchestify", tracer_provider=tracer_provider)
        meter = metrics.get_meter("orchestify", meter_provider=meter_provider)
        self.duration = meter.create_histogram(
            Names.OPERATION_DURATION,
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self.first_chunk = meter.create_histogram(
            Names.TIME_TO_FIRST_CHUNK,
            "s",
            "Time until a stream's first output.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self.tokens = meter.create_histogram(
            Names.TOKEN_USAGE,
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )

    def watch(self, registry: ProviderRegistry, tenant: str = "") -> Callable[[], None]:
        """Follow the calls of a registry that begin from now on; return what ends that."""
        self.labels.name(tenant, registry.named_models())
        registry.trace(_TenantTracer(self, tenant))
        return partial(registry.trace, None)

    def start(self, call: TracedCall) -> CallSpan:
        """Follow one call."""
        return CallSpan(self, "", call)


class _TenantTracer:
    """Follows the calls of one tenant."""

    def __init__(self, telemetry: Telemetry, tenant: str) -> None:
        self._telemetry = telemetry
        self._tenant = tenant

    def start(self, call: TracedCall) -> CallSpan:
        return CallSpan(self._telemetry, self._tenant, call)


class CallSpan:
    """One call under way. Between its start and end the SDK is not called: it may wait for locks.

    The span tells what the caller asked for (the first target) and what became of it.
    """

    def __init__(self, telemetry: Telemetry, tenant: str, call: TracedCall) -> None:
        self._telemetry = telemetry
        self._tenant = tenant
        self._attempts: list[tuple[int, TracedAttempt]] = []
        self._started = time.perf_counter()
        is_embedding = isinstance(call.request, EmbeddingRequest)
        self._operation = EMBEDDINGS if is_embedding else CHAT
        self._asked = self._target_of(call)
        self._span = telemetry.tracer.start_span(
            f"{self._operation} {call.request.model}",
            kind=trace.SpanKind.CLIENT,
            attributes={**self._asked, Names.REQUEST_MODEL: call.request.model},
        )
        if self._span.is_recording():
            self._span.set_attributes(request_attributes(call))
            if telemetry.capture_content and not is_embedding:
                self._span.set_attribute(
                    Names.INPUT_MESSAGES, input_messages(call.request.messages)
                )

    def attempted(self, attempt: TracedAttempt) -> None:
        """Keep an attempt for the end."""
        self._attempts.append((time.time_ns(), attempt))

    def ended(self, ending: Ending) -> None:
        """Tell the attempts and the end, and measure the call."""
        duration_s = time.perf_counter() - self._started
        response = None if isinstance(ending, BaseException) else ending
        failure = {} if response is not None else {Names.ERROR: type(ending).__name__}
        if isinstance(ending, GeneratorExit):  # how a stream's reader lets it go
            failure = {Names.ERROR: CancelledError.__name__}
        if self._span.is_recording():
            self._describe(response, failure)
        self._span.end()
        answered = self._answered_by(response)
        cached = {Names.OUTCOME: "cached"} if _is_cached(response) else {}
        self._telemetry.duration.record(
            duration_s, {**self._asked, **answered, **failure, **cached}
        )
        for _, attempt in self._attempts:
            self._measure(attempt, answered if attempt.outcome == "ok" else {})

    def _describe(self, response: Answered | None, failure: Attributes) -> None:
        span = self._span
        for at, attempt in self._attempts:
            span.add_event(Names.ATTEMPT, attempt_attributes(attempt), at)
        span.set_attributes({**total_attributes([each for _, each in self._attempts]), **failure})
        if response is not None:
            span.set_attributes(response_attributes(response))
            if self._telemetry.capture_content and isinstance(response, LLMResponse):
                span.set_attribute(Names.OUTPUT_MESSAGES, output_messages(response))
        elif failure[Names.ERROR] != CancelledError.__name__:
            span.set_status(trace.StatusCode.ERROR)

    def _measure(self, attempt: TracedAttempt, answered: Attributes) -> None:
        """Measure an attempt's first chunk, and its tokens where the provider told them."""
        is_reported = attempt.usage.source == "reported" and attempt.outcome != "cached"
        if not is_reported and attempt.first_chunk_s is None:
            return
        attributes = {**self._target_of(attempt), **answered}
        if attempt.first_chunk_s is not None:
            self._telemetry.first_chunk.record(attempt.first_chunk_s, attributes)
        if is_reported:
            tokens = self._telemetry.tokens
            kinds = (("input", attempt.usage.input_tokens), ("output", attempt.usage.output_tokens))
            for kind, count in kinds:
                tokens.record(count, {**attributes, Names.TOKEN_TYPE: kind})

    def _target_of(self, asked: TracedCall | TracedAttempt) -> dict[str, Value]:
        """The attributes of a target, the same on spans and metrics."""
        target = asked.target
        model = asked.request.model if isinstance(asked, TracedCall) else target.model
        _, label = self._telemetry.labels.of(self._tenant, target.provider_id, model)
        return {
            Names.OPERATION: self._operation,
            Names.REQUEST_MODEL: label,
            **target_attributes(target),
            **({Names.TENANT: self._tenant} if self._tenant else {}),
        }

    def _answered_by(self, response: Answered | None) -> Attributes:
        if response is None:
            return {}
        labels = self._telemetry.labels
        _, label = labels.of(self._tenant, response.provider, response.model)
        return {Names.RESPONSE_MODEL: label}


def _is_cached(response: Answered | None) -> bool:
    return isinstance(response, LLMResponse) and response.is_cached
