"""Scripted answers without a network, for hosts' own tests."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
from array import array
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from orchestify import errors
from orchestify.errors import APIError, ConfigError, InvalidParameterError, StreamInterruptedError
from orchestify.lanes.wire_form import request_form
from orchestify.values import (
    CompletionRequest,
    EmbeddingInput,
    EmbeddingRequest,
    EmbeddingResponse,
    LLMResponse,
    StreamEnd,
    StreamEvent,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

DEFAULT_TEXT = "This is a mock answer."
DEFAULT_DIMENSIONS = 8
_PIECES = re.compile(r"\s*\S+\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class MockAnswer:
    """One scripted answer.

    `tool_calls` are (name, arguments) pairs. `delay_s` passes before the answer or a stream's
    first piece, `chunk_delay_s` between pieces. `error` is the name of a class of
    `orchestify.errors` to raise instead, `retry_after_s` what a rate limit asks for; a stream
    with `cut_after` breaks after so many pieces. Token counts are words where not given.
    """

    text: str = field(default=DEFAULT_TEXT, repr=False)
    thinking: str = field(default="", repr=False)
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]] = field(default=(), repr=False)
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    error: str | None = None
    retry_after_s: float | None = None
    cut_after: int | None = None

    def __post_init__(self) -> None:
        kind = APIError if self.error is None else getattr(errors, str(self.error), None)
        if not (isinstance(kind, type) and issubclass(kind, APIError)):
            raise InvalidParameterError("error is the name of an APIError of orchestify.errors")
        if not isinstance(self.text, str):
            raise InvalidParameterError("text of a MockAnswer is a text")


class MockLane:
    """Answers from a script, in order; the last answer repeats. `requests` holds what came."""

    def __init__(self, provider_id: str, answers: Sequence[MockAnswer] = ()) -> None:
        self.provider_id = provider_id
        self.answers = tuple(answers) or (MockAnswer(),)
        self.requests: list[CompletionRequest] = []

    @classmethod
    def from_options(cls, provider_id: str, options: Mapping[str, Any]) -> MockLane:
        """Build from the configuration: `answer:` is one answer, `answers:` several, in order.

        An answer is a text, or a mapping of the fields of `MockAnswer`.

        Raises:
            ConfigError: an answer has another form, or a field nobody knows.
        """
        given = options.get("answers", [options["answer"]] if "answer" in options else [])
        if not isinstance(given, (list, tuple)):
            raise ConfigError(f"providers.{provider_id}.options.answers: expected a list")
        where = f"providers.{provider_id}.options"
        return cls(provider_id, [_answer_of(each, where) for each in given])

    async def send(self, request: CompletionRequest) -> LLMResponse:
        """Return the next scripted answer, or raise its error."""
        answer = await self._next(request)
        return _response(answer, request)

    async def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        """Yield the next scripted answer word by word."""
        answer = await self._next(request)
        response = _response(answer, request)
        sent: list[str] = []
        for number, event in enumerate([*_events(response), StreamEnd(response)]):
            if number == answer.cut_after:
                error = StreamInterruptedError(provider=self.provider_id, model=request.model)
                error.text = "".join(sent)
                raise error
            if number and answer.chunk_delay_s:
                await asyncio.sleep(answer.chunk_delay_s)
            if isinstance(event, TextDelta):
                sent.append(event.text)
            yield event

    def wire_form(self, request: CompletionRequest, *, stream: bool) -> bytes | None:
        """Return the request: equal ones are the same to a script, whatever it answers next."""
        return request_form(request, "mock", self.provider_id, stream)

    async def embed_inputs(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Return made-up vectors, the same for the same input; the script's errors hold as well."""
        answer = await self._next(request)
        size = request.dimensions or DEFAULT_DIMENSIONS
        words = sum(len(message.text.split()) for message in request.messages)
        return EmbeddingResponse(
            tuple(_vector(each, size) for each in request.inputs),
            request.model,
            Usage(words if answer.input_tokens is None else answer.input_tokens),
        )

    async def count_input(self, request: CompletionRequest) -> int | None:
        """Return None: a script counts nothing."""
        return None

    async def list_models(self) -> list[str] | None:
        """Return the models that have been asked for."""
        return sorted({request.model for request in self.requests})

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""

    async def _next(self, request: CompletionRequest) -> MockAnswer:
        answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
        self.requests.append(request)
        if answer.delay_s:
            await asyncio.sleep(answer.delay_s)
        if answer.error is not None:
            kind: type[APIError] = getattr(errors, answer.error)
            raise kind(
                provider=self.provider_id,
                model=request.model,
                retry_after_s=answer.retry_after_s,
            )
        return answer


def _answer_of(given: object, where: str) -> MockAnswer:
    if isinstance(given, str):
        return MockAnswer(text=given)
    known = {each.name for each in fields(MockAnswer)}
    if not isinstance(given, Mapping) or not set(given) <= known:
        raise ConfigError(f"{where}: an answer is a text or has keys of {', '.join(sorted(known))}")
    values = dict(given)
    if "tool_calls" in values:
        values["tool_calls"] = tuple(_tool_call(call, where) for call in values["tool_calls"])
    try:
        return MockAnswer(**values)
    except InvalidParameterError as error:
        raise ConfigError(f"{where}: {error}") from None


def _tool_call(given: object, where: str) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise ConfigError(f"{where}: a tool call has a name, and arguments")
    return given["name"], given.get("arguments", {})


def _vector(given: EmbeddingInput, size: int) -> array[float]:
    """Return numbers from -1 to 1 that an input alone decides."""
    digest = hashlib.shake_128(repr(given).encode("utf-8", "replace")).digest(size)
    return array("d", [byte / 127.5 - 1 for byte in digest])


def _response(answer: MockAnswer, request: CompletionRequest) -> LLMResponse:
    calls = tuple(
        ToolCall(f"call_{secrets.token_hex(6)}", name, dict(arguments))
        for name, arguments in answer.tool_calls
    )
    text = "" if calls and answer.text == DEFAULT_TEXT else answer.text
    words = sum(len(message.text.split()) for message in request.messages)
    usage = Usage(
        words if answer.input_tokens is None else answer.input_tokens,
        len(text.split()) if answer.output_tokens is None else answer.output_tokens,
    )
    return LLMResponse(
        content=text,
        model=request.model,
        tokens_input=usage.input_tokens,
        tokens_output=usage.output_tokens,
        finish_reason=answer.finish_reason or ("tool_calls" if calls else "stop"),
        tool_calls=calls,
        thinking=Thinking(answer.thinking) if answer.thinking else None,
        usage=usage,
    )


def _events(response: LLMResponse) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    if response.thinking is not None:
        events.append(ThinkingDelta(response.thinking.text))
    events += [TextDelta(piece) for piece in _PIECES.findall(response.content)]
    events += [
        ToolCallDelta(index, call.id, call.name, json.dumps(dict(call.arguments)))
        for index, call in enumerate(response.tool_calls)
    ]
    return events
