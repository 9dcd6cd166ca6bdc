"""The lane of a host's own provider: what its class defines, as one request sent once."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from orchestify.calls.stream import CompletionStream
from orchestify.errors import (
    APIConnectionError,
    APIError,
    InvalidParameterError,
    InvalidResponseError,
    OrchestifyError,
    RequestTimeoutError,
    StreamInterruptedError,
)
from orchestify.lanes.answers import checked_usage
from orchestify.lanes.failures import interrupted
from orchestify.lanes.wire_form import request_form
from orchestify.providers.base import LLMProvider
from orchestify.providers.tracked_usage import TrackedUsage, tracking
from orchestify.values import (
    UNKNOWN_USAGE,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    LLMResponse,
    StreamEnd,
    StreamEvent,
    TextDelta,
    Tool,
    Usage,
    UsageUpdate,
    believed_usd,
)

UNNAMED_MODEL = "external"
"""The model in the account of calls whose model nobody named: the provider knows its own."""

T = TypeVar("T")

_log = logging.getLogger("orchestify.calls")


class ExternalLane:
    """Sends by a host's own provider: its `send` and `open_stream`, or `complete` and `stream`.

    Its `complete` is given, by name, what was asked for and is not None, and its model only where
    one is configured or asked for. What its signature lacks is refused; but `options`, and thinking
    that only the configuration asks for, are left out, told once in the log and in each answer's
    `warnings`. Where it streams in neither way, an answer is one piece. An error that is none of
    ours becomes an `APIError` that names its class and has it as its `__context__`; no traceback
    prints that, since its words may be nobody's business. See `orchestify.lanes.lane.Lane`.
    """

    def __init__(self, provider_id: str, provider: LLMProvider) -> None:
        """Make the lane of a provider.

        Raises:
            InvalidParameterError: it defines neither pair of methods.
        """
        self._provider_id = provider_id
        self._provider = provider
        self._told: set[str] = set()  # what was left out, and is in the log
        kind = type(provider)
        self._sends = kind.send is not LLMProvider.send
        self._streams = kind.open_stream is not LLMProvider.open_stream
        completes = kind.complete is not LLMProvider.complete
        if not (self._sends or completes):
            raise InvalidParameterError(
                f"{kind.__name__} defines neither complete and stream nor send and open_stream"
            )

    async def count_input(self, request: CompletionRequest) -> int | None:
        """Return the input tokens that the host's provider counts, None where it counts none."""
        return await self._provider.count_input(request)

    async def list_models(self) -> list[str] | None:
        """What the host's provider says."""
        return await self._provider.list_models()

    async def aclose(self) -> None:
        """Close the host's provider."""
        await self._provider.aclose()

    async def send(self, request: CompletionRequest) -> LLMResponse:
        """Let the host's provider answer."""
        failure: APIError
        tracked = TrackedUsage(self._provider)
        try:
            with tracking(tracked):
                if self._sends:
                    warnings: tuple[str, ...] = ()
                    response = await self._provider.send(_with_own_model(request))
                else:
                    complete = self._provider.complete
                    given, warnings = self._arguments(request, complete)
                    response = await complete(**given)
            return self._checked(response, tracked, warnings)
        except APIError as error:
            failure = error
        except OrchestifyError:
            raise
        except Exception as error:  # a provider that is not ours
            failure = self._translated(error, request.model)
        raise _with_tracked(failure, tracked)

    def wire_form(self, request: CompletionRequest, *, stream: bool) -> bytes | None:
        """Return the request and whom it is given to."""
        kind = type(self._provider)
        return request_form(request, kind.__module__, kind.__qualname__, self._provider_id, stream)

    async def embed_inputs(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Let the host's provider embed."""
        failure: APIError
        try:
            response: object = await self._provider.embed_inputs(request)
            if not isinstance(response, EmbeddingResponse):
                raise InvalidResponseError(
                    f"the provider returned a {type(response).__name__}, not an EmbeddingResponse"
                )
            if len(response.vectors) != len(request.inputs):
                raise InvalidResponseError("the provider returned another number of vectors")
            return replace(response, usage=checked_usage(response.usage))
        except OrchestifyError:
            raise
        except Exception as error:  # a provider that is not ours
            failure = self._translated(error, request.model)
        raise failure

    async def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        """Let the host's provider stream; texts become events."""
        tracked = TrackedUsage(self._provider)
        events = self._opened(request, tracked)
        texts: list[str] = []
        usage: Usage | None = None
        has_output = False
        failure: APIError = InvalidResponseError("the stream ended before its StreamEnd")
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, StreamEnd):
                        yield StreamEnd(self._checked(event.response, tracked))
                        return
                    if isinstance(event, UsageUpdate):
                        usage = checked_usage(event.usage)
                        yield UsageUpdate(usage)
                        continue
                    has_output = True
                    if isinstance(event, TextDelta):
                        texts.append(event.text)
                    yield event
        except StreamInterruptedError:
            raise
        except APIError as error:
            failure = error
        except OrchestifyError:
            raise
        except Exception as error:  # a provider that is not ours
            failure = self._translated(error, request.model)
        failure = _with_tracked(failure, tracked)
        if has_output:
            cut = interrupted(failure, "".join(texts), usage or failure.usage)
            cut.__context__, cut.__suppress_context__ = failure.__context__, True
            raise cut
        raise failure

    def _opened(
        self, request: CompletionRequest, tracked: TrackedUsage
    ) -> AsyncGenerator[StreamEvent, None]:
        """The events by what the class defines; a whole answer is one piece."""
        if self._streams:
            return _tracked_events(self._provider.open_stream(_with_own_model(request)), tracked)
        if type(self._provider).stream is not LLMProvider.stream:
            return self._texts(request, tracked)
        return self._whole(request)

    async def _whole(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        response = await self.send(request)
        if response.content:
            yield TextDelta(response.content)
        yield StreamEnd(response)

    async def _texts(
        self, request: CompletionRequest, tracked: TrackedUsage
    ) -> AsyncGenerator[StreamEvent, None]:
        method: Any = self._provider.stream
        given, warnings = self._arguments(request, method)
        with tracking(tracked):
            opened = method(**given)
            texts: AsyncIterator[str] = await opened if inspect.isawaitable(opened) else opened
        pieces: list[str] = []
        async with aclosing(_tracked_events(texts, tracked)) as told:
            async for text in told:
                pieces.append(text)
                yield TextDelta(text)
        answer = LLMResponse("".join(pieces), request.model, 0, 0, "stop", warnings=warnings)
        yield StreamEnd(answer)

    def _checked(
        self, response: object, tracked: TrackedUsage, warnings: tuple[str, ...] = ()
    ) -> LLMResponse:
        if not isinstance(response, LLMResponse):
            raise InvalidResponseError(
                f"the provider returned a {type(response).__name__}, not an LLMResponse"
            )
        response = tracked.fill(response)
        response = replace(
            response, usage=_usage_of(response), warnings=(*response.warnings, *warnings)
        )
        if response.cost_usd is None:
            return response
        cost_usd = believed_usd(response.cost_usd)
        if cost_usd is not None:
            return replace(response, cost_usd=cost_usd, cost_source="provider")
        usage = response.usage or UNKNOWN_USAGE
        usage = replace(usage, invalid=(*usage.invalid, "cost"))
        return replace(response, usage=usage, cost_usd=None, cost_source="none")

    def _arguments(
        self, request: CompletionRequest, method: Any
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the arguments that a method takes, and the warnings of what it does not.

        Raises:
            InvalidParameterError: it lacks one that cannot be left out.
        """
        given, parameters = _given(request), inspect.signature(method).parameters
        if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            return given, ()
        lacking = [name for name in given if name not in parameters]
        where = f"{type(self._provider).__name__}.{method.__name__}"
        needed = [name for name in lacking if not _may_be_left_out(name, request)]
        if needed:
            raise InvalidParameterError(
                f"{where} takes no {', '.join(needed)}; give it such a parameter, or leave that "
                "out of the call and the agent"
            )
        for name in lacking:
            if name not in self._told and given[name]:
                self._told.add(name)
                _log.warning("%s takes no %s; it is left out", where, name)
        warnings = tuple(f"{name}_dropped" for name in lacking if given.pop(name))
        return given, warnings

    def _translated(self, error: Exception, model: str) -> APIError:
        kind: type[APIError] = APIError
        if isinstance(error, TimeoutError):
            kind = RequestTimeoutError
        elif isinstance(error, ConnectionError):
            kind = APIConnectionError
        translated = kind(
            f"the provider raised {type(error).__name__}{_place(error)}",
            provider=self._provider_id,
            model=model,
        )
        translated.__context__, translated.__suppress_context__ = error, True
        return translated


def _place(error: Exception) -> str:
    """Where an error was raised, since its own message may hold what nobody may see."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _usage_of(response: LLMResponse) -> Usage:
    """The usage of an answer; that of a simple provider is in two counts."""
    usage: Usage | None = response.usage  # a host's own class may say None
    if usage is not None and usage != UNKNOWN_USAGE:
        return checked_usage(usage)
    if not response.tokens_input and not response.tokens_output:
        return UNKNOWN_USAGE
    return checked_usage(Usage(response.tokens_input, response.tokens_output))


def _with_own_model(request: CompletionRequest) -> CompletionRequest:
    """Return the request without the word that stands for a model nobody named."""
    return replace(request, model="") if request.model == UNNAMED_MODEL else request


def _given(request: CompletionRequest) -> dict[str, Any]:
    """The request as arguments by name, None left out."""
    thinking = request.thinking
    given = {
        "messages": list(request.messages),
        "model": _with_own_model(request).model or None,
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "thinking": thinking is not None if thinking or request.thinking_off else None,
        "top_p": request.top_p,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        "tool_choice": request.tool_choice,
        "response_format": request.response_format,
        "options": dict(request.options) or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _may_be_left_out(name: str, request: CompletionRequest) -> bool:
    """Whether an answer is what was asked for without this argument."""
    if name == "thinking":
        return request.thinking_off or request.thinking_configured
    return name == "options"


def _with_tracked(failure: APIError, tracked: TrackedUsage) -> APIError:
    """Return a failure with what the provider told of its usage before."""
    if failure.usage is None and tracked.usage is not UNKNOWN_USAGE:
        failure.usage, failure.cost_usd = tracked.usage, tracked.cost_usd
    return failure


async def _tracked_events(
    source: AsyncIterator[T], tracked: TrackedUsage
) -> AsyncGenerator[T, None]:
    """Yield what a provider's stream yields; what it tells between is its call's."""
    try:
        while True:
            with tracking(tracked):
                try:
                    event = await anext(source)
                except StopAsyncIteration:
                    return
            yield event
    finally:
        if isinstance(source, (AsyncGenerator, CompletionStream)):
            with tracking(tracked):
                await source.aclose()


def _tool(tool: Tool) -> dict[str, Any]:
    if tool.server is not None:
        return dict(tool.server)
    return {
        "name": tool.name,
        "description": tool.description or "",
        "input_schema": dict(tool.input_schema),
    }
