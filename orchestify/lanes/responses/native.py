"""Requests and answers in the words of OpenAI's Responses, passed through for who speaks them.

A caller that names an agent does not know which model answers, and asks for what the newest
takes: what is known to be refused by the model is put as that takes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from orchestify.lanes.fitting import Fitting, nearest_effort
from orchestify.lanes.openai.dialects import UNKNOWN, Dialect, refused_by_openai
from orchestify.lanes.openai.thinking import efforts_of
from orchestify.lanes.responses.answer import ResponsesAnswer
from orchestify.lanes.responses.request import ENCRYPTED, reasoning_fields, without_reasoning
from orchestify.values import CompletionRequest, NativeEvent, NativeRequest, StreamEvent

PROTOCOL: Literal["responses"] = "responses"
"""`NativeRequest.protocol` of requests in these words."""

_NO_OUTPUT = ("response.created", "response.in_progress", "response.queued")


def fitted_native(
    request: CompletionRequest,
    native: NativeRequest,
    dialect: Dialect,
    seen: Sequence[str] | frozenset[str] = (),
) -> Fitting:
    """Return a request whose native body is for the target's model.

    What is configured and not said is filled in; `seen` are the sampling parameters that the model
    was seen to refuse.
    """
    fitting = Fitting(request)
    body = {name: value for name, value in native.body.items() if name != "stream"}
    body["model"] = request.model
    configured = {
        "max_output_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "reasoning": reasoning_fields(request, dialect) or None,
    }
    for name, value in configured.items():
        if value is not None and body.get(name) is None:
            body[name] = value
    _fit_reasoning(body, fitting)
    _fit_sampling(body, fitting, seen)
    fitting.change(native=replace(native, body=body))
    return fitting


def growing(request: CompletionRequest, dialect: Dialect = UNKNOWN) -> ResponsesAnswer:
    """Return what a stream fills: in the provider's words as well, where the request was."""
    kind = ResponsesAnswer if request.native is None else NativeAnswer
    return kind(request, dialect)


class NativeAnswer(ResponsesAnswer):
    """An answer that grows by events, each of which is passed on before what it brought."""

    def feed(self, chunk: Mapping[str, Any]) -> Sequence[StreamEvent]:
        """Take one event and return it, and what it brought. Raises RefusedError."""
        brought = super().feed(chunk)
        return (NativeEvent(chunk, chunk.get("type") not in _NO_OUTPUT), *brought)


def _fit_reasoning(body: dict[str, Any], fitting: Fitting) -> None:
    """Take out, or change, how much a model is to think that takes no such word."""
    asked = body.get("reasoning")
    reasoning: dict[str, Any] = asked if isinstance(asked, dict) else {}
    effort, taken = reasoning.get("effort"), efforts_of(fitting.request.model)
    if taken == ():
        body.pop("reasoning", None)
        if ENCRYPTED in (body.get("include") or ()):
            body["include"] = [each for each in body["include"] if each != ENCRYPTED]
        if isinstance(body.get("input"), list):
            body["input"] = without_reasoning(body["input"])
        if effort not in (None, "none"):
            fitting.warn("thinking_dropped")
        return
    if isinstance(effort, str) and taken and effort not in taken:
        body["reasoning"] = {**reasoning, "effort": _nearest(taken, effort)}
        fitting.warn("thinking_effort_changed")


def _nearest(taken: Sequence[str], effort: str) -> str:
    return taken[0] if effort == "none" else nearest_effort(taken, effort)


def _fit_sampling(
    body: dict[str, Any], fitting: Fitting, seen: Sequence[str] | frozenset[str]
) -> None:
    reasoning = body.get("reasoning")
    thinks = isinstance(reasoning, dict) and reasoning.get("effort") not in (None, "none")
    refused = refused_by_openai(fitting.request.model, thinking=thinks).union(seen)
    for name in ("temperature", "top_p"):
        if name in refused and body.get(name) not in (None, 1):
            del body[name]
            fitting.warn(f"{name}_dropped")
