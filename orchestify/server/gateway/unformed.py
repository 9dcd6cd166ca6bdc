"""Answers that do not fit the form that was asked for: the clients check that themselves."""

from __future__ import annotations

from typing import Any

from orchestify.calls.stream import CompletionStream, ReaderEvent
from orchestify.errors import StructuredOutputError
from orchestify.providers.base import LLMProvider
from orchestify.values import LLMResponse, StreamEnd


async def completed(provider: LLMProvider, arguments: dict[str, Any]) -> LLMResponse:
    """Return the answer, also where it does not fit the form."""
    try:
        response: LLMResponse = await provider.complete(**arguments)
    except StructuredOutputError as error:
        response = error.response
    return response


async def next_event(stream: CompletionStream) -> ReaderEvent | None:
    """Return a stream's next event; its end also where the answer does not fit the form."""
    try:
        return await stream.next_event()
    except StructuredOutputError as error:
        return StreamEnd(error.response)
