"""The lane of a host's own provider: what its class defines, as one request sent once."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from orchestify.providers.base import LLMProvider
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


class ExternalLane:
    """Sends by a host's own provider: its `send` and `open_stream`, or `complete` and `stream`.

    Its `complete` is given, by name, what was asked for and is not None; an error that is none
    of ours becomes an `APIError` that names its class. See `orchestify.lanes.lane.Lane`.
    """

    def __init__(self, provider_id: str, provider: LLMProvider) -> None:
        """Make the lane of a provider.

        Raises:
            InvalidParameterError: it defines neither pair of methods.
        """
        self._provider_id = provider_id
        self._provider = provider
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
        try:
            if self._sends:
                response = await self._provider.send(request)
            else:
                complete = self._provider.complete
                response = await complete(**_arguments(request, complete))
            return self._checked(response)
        except OrchestifyError:
            raise
        except Exception as error:  # a provider that is not ours
            failure = self._translated(error, request.model)
        raise failure

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
        events = self._provider.open_stream(request) if self._streams else self._texts(request)
        texts: list[str] = []
        usage: Usage | None = None
        has_output = False
        failure: APIError = InvalidResponseError("the stream ended before its StreamEnd")
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, StreamEnd):
                        yield StreamEnd(self._checked(event.response))
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
        raise interrupted(failure, "".join(texts), usage) if has_output else failure

    async def _texts(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        method: Any = self._provider.stream
        opened = method(**_arguments(request, method))
        texts: AsyncIterator[str] = await opened if inspect.isawaitable(opened) else opened
        pieces: list[str] = []
        try:
            async for text in texts:
                pieces.append(text)
                yield TextDelta(text)
        finally:
            if isinstance(texts, (AsyncGenerator, CompletionStream)):
                await texts.aclose()
        yield StreamEnd(
            LLMResponse("".join(pieces), request.model, 0, 0, "stop", usage=UNKNOWN_USAGE)
        )

    def _checked(self, response: object) -> LLMResponse:
        if not isinstance(response, LLMResponse):
            raise InvalidResponseError(
                f"the provider returned a {type(response).__name__}, not an LLMResponse"
            )
        response = replace(response, usage=_usage_of(response))
        if response.cost_usd is None:
            return response
        cost_usd = believed_usd(response.cost_usd)
        if cost_usd is not None:
            return replace(response, cost_usd=cost_usd, cost_source="provider")
        usage = response.usage or UNKNOWN_USAGE
        usage = replace(usage, invalid=(*usage.invalid, "cost"))
        return replace(response, usage=usage, cost_usd=None, cost_source="none")

    def _translated(self, error: Exception, model: str) -> APIError:
        kind: type[APIError] = APIError
        if isinstance(error, TimeoutError):
            kind = RequestTimeoutError
        elif isinstance(error, ConnectionError):
            kind = APIConnectionError
        return kind(
            f"the provider raised {type(error).__name__}{_place(error)}",
            provider=self._provider_id,
            model=model,
        )


def _place(error: Exception) -> str:
    """Where an error was raised, since its own message may hold what nobody may see."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _usage_of(response: LLMResponse) -> Usage:
    """The usage of an answer; that of a simple provider is in two counts."""
    if response.usage is not None:
        return checked_usage(response.usage)
    if not response.tokens_input and not response.tokens_output:
        return UNKNOWN_USAGE
    return checked_usage(Usage(response.tokens_input, response.tokens_output))


def _arguments(request: CompletionRequest, method: Any) -> dict[str, Any]:
    """The request as the arguments that a method takes, None left out."""
    thinking = request.thinking
    given = {
        "messages": list(request.messages),
        "model": request.model or None,
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
    parameters = inspect.signature(method).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return {
        name: value
        for name, value in given.items()
        if value is not None and (takes_all or name in parameters)
    }


def _tool(tool: Tool) -> dict[str, Any]:
    if tool.server is not None:
        return dict(tool.server)
    return {
        "name": tool.name,
        "description": tool.description or "",
        "input_schema": dict(tool.input_schema),
    }
