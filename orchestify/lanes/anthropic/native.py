"""Requests and answers in Anthropic's own words, passed through for callers that speak them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestify.errors import InvalidParameterError
from orchestify.lanes.anthropic.answer import MessageAnswer
from orchestify.lanes.anthropic.fitting import fitted
from orchestify.lanes.anthropic.request import body_of
from orchestify.values import CompletionRequest, NativeEvent, NativeRequest, StreamEvent

BETA_HEADER = "anthropic-beta"

_SAMPLING = ("temperature", "top_p", "top_k")
_THINKS = ("enabled", "adaptive")


def native_body(
    request: CompletionRequest, native: NativeRequest, *, stream: bool
) -> dict[str, Any]:
    """Return the caller's body for the target's model, with what is configured and not said.

    Thinking that only configuration asks for comes with the sampling and the room that it needs.
    """
    body = {**native.body, "model": request.model}
    body.pop("stream", None)
    if stream:
        body["stream"] = True
    lacking = [name for name, value in _configured(request).items() if value and name not in body]
    if not lacking:
        return body
    whole = _whole(request)
    filled = {name: whole[name] for name in (*lacking, "output_config") if name in whole}
    if filled.get("thinking", {}).get("type") in _THINKS:
        body = {name: value for name, value in body.items() if name not in _SAMPLING}
        body["max_tokens"] = whole["max_tokens"]
    return {**filled, **body}


def growing(request: CompletionRequest) -> MessageAnswer:
    """Return what a stream fills: in the provider's words as well, where the request was."""
    return MessageAnswer(request) if request.native is None else NativeAnswer(request)


class NativeAnswer(MessageAnswer):
    """An answer that grows by events, each of which is passed on before what it brought."""

    def feed(self, chunk: Mapping[str, Any]) -> Sequence[StreamEvent]:
        """Take one event and return it, and what it brought. Raises RefusedError."""
        brought = super().feed(chunk)
        is_output = str(chunk.get("type", "")).startswith("content_block")
        return (NativeEvent(chunk, is_output), *brought)


def _configured(request: CompletionRequest) -> dict[str, Any]:
    """Return what may be configured, by the protocol's names."""
    return {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature is not None,
        "top_p": request.top_p is not None,
        "stop_sequences": request.stop,
        "thinking": request.thinking is not None or request.thinking_off,
    }


def _whole(request: CompletionRequest) -> dict[str, Any]:
    """Return the body that is made of the request as it was read; empty where none can be."""
    try:
        return body_of(fitted(replace(request, native=None)).request, stream=False)
    except InvalidParameterError:
        return {}
