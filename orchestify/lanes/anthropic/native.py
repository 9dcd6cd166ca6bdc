"""Requests and answers in Anthropic's own words, passed through for callers that speak them.

A caller that names an agent does not know which model answers, and asks for what the newest
takes: what is known to be refused by the model is put as that takes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from orchestify.core.providers import AnswerBounds
from orchestify.errors import InvalidParameterError
from orchestify.lanes.anthropic.answer import MessageAnswer
from orchestify.lanes.anthropic.claude_models import (
    claude_of,
    refused_by_claude,
    thinking_fields,
    thinking_off_fields,
)
from orchestify.lanes.anthropic.fitting import fitted
from orchestify.lanes.anthropic.request import CACHED, system_note
from orchestify.lanes.fitting import Fitting
from orchestify.lanes.parsing import BOUNDS
from orchestify.values import CompletionRequest, NativeEvent, NativeRequest, StreamEvent

PROTOCOL: Literal["messages"] = "messages"
"""`NativeRequest.protocol` of requests in these words."""

BETA_HEADER = "anthropic-beta"

_THINKS = ("enabled", "adaptive")
_FIELDS_OF_THINKING = ("thinking", "max_tokens", "temperature", "top_p")
_CLEARS_THINKING = "clear_thinking_"


def fitted_native(request: CompletionRequest, native: NativeRequest) -> Fitting:
    """Return a request whose native body is for the target's model.

    What is configured and not said is filled in; thinking comes with the room that it needs.
    """
    fitting = Fitting(request)
    body = {name: value for name, value in native.body.items() if name != "stream"}
    body["model"] = request.model
    configured = _configured(request)
    lacking = [name for name, is_said in configured.items() if is_said and name not in body]
    if lacking or _is_other_thinking(body, request):
        body = _rethought(body, lacking, request)
    body = _without_refused(body, fitting)
    if not claude_of(request.model).system_messages:
        body["messages"] = list(map(_as_user, body["messages"]))
    if request.cache and not _is_marked(body):
        body = _marked(body)
    fitting.change(native=replace(native, body=body))
    return fitting


def growing(request: CompletionRequest, bounds: AnswerBounds = BOUNDS) -> MessageAnswer:
    """Return what a stream fills: in the provider's words as well, where the request was."""
    kind = MessageAnswer if request.native is None else NativeAnswer
    return kind(request, bounds)


class NativeAnswer(MessageAnswer):
    """An answer that grows by events, each of which is passed on before what it brought."""

    def feed(self, chunk: Mapping[str, Any]) -> Sequence[StreamEvent]:
        """Take one event and return it, and what it brought. Raises RefusedError."""
        brought = super().feed(chunk)
        is_output = str(chunk.get("type", "")).startswith("content_block")
        return (NativeEvent(chunk, is_output), *brought)


def _configured(request: CompletionRequest) -> Mapping[str, bool]:
    """Return what may be configured by the protocol's names, and whether anybody says it."""
    return {
        "max_tokens": request.max_tokens is not None,
        "temperature": request.temperature is not None,
        "top_p": request.top_p is not None,
        "stop_sequences": bool(request.stop),
        "thinking": request.thinking is not None or request.thinking_off,
    }


def _is_other_thinking(body: Mapping[str, Any], request: CompletionRequest) -> bool:
    """Whether thinking is asked for in a way that the model does not take, or not to be had."""
    kind, claude = _kind_of_thinking(body), claude_of(request.model)
    if kind in _THINKS and request.thinking is None:
        return True
    return (kind == "adaptive" and not claude.adaptive) or (kind == "enabled" and not claude.budget)


def _rethought(
    body: dict[str, Any], lacking: Sequence[str], request: CompletionRequest
) -> dict[str, Any]:
    """Return a body with what is lacking; where thinking is new or other, with all it needs."""
    fields = _fields(request)
    renewed = set(lacking)
    if "thinking" in renewed or _is_other_thinking(body, request):
        renewed.update(_FIELDS_OF_THINKING)
    body = {name: value for name, value in body.items() if name not in renewed or not fields}
    body |= {name: value for name, value in fields.items() if name in renewed}
    if "output_config" in fields:
        body["output_config"] = {**fields["output_config"], **body.get("output_config", {})}
    if _kind_of_thinking(body) not in _THINKS:
        body = _without_clearing(body)
    return body


def _fields(request: CompletionRequest) -> dict[str, Any]:
    """Return what the model is asked beside the messages; nothing where it takes no such request.

    The provider then says why.
    """
    try:
        fit = fitted(replace(request, native=None)).request
    except InvalidParameterError:
        return {}
    thinking: dict[str, Any] = {}
    if fit.thinking is not None:
        thinking = thinking_fields(fit.thinking, fit.model)
    elif fit.thinking_off:
        thinking = thinking_off_fields(fit.model)
    fields = {
        "max_tokens": fit.max_tokens,
        "temperature": fit.temperature,
        "top_p": fit.top_p,
        "stop_sequences": list(fit.stop) or None,
        **thinking,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _without_clearing(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body that clears no thinking of a model that does not think: that is refused."""
    managed = body.get("context_management")
    if not isinstance(managed, dict) or not isinstance(managed.get("edits"), list):
        return body
    edits = [
        edit
        for edit in managed["edits"]
        if not (isinstance(edit, dict) and str(edit.get("type")).startswith(_CLEARS_THINKING))
    ]
    if edits:
        return {**body, "context_management": {**managed, "edits": edits}}
    return {name: value for name, value in body.items() if name != "context_management"}


def _without_refused(body: dict[str, Any], fitting: Fitting) -> dict[str, Any]:
    """Return a body without the sampling and the effort that the model refuses, and say so."""
    model = fitting.request.model
    for name in refused_by_claude(model, thinking=_kind_of_thinking(body) in _THINKS):
        if body.get(name) not in (None, 1):
            fitting.warn(f"{name}_dropped")
            body = {each: value for each, value in body.items() if each != name}
    output = body.get("output_config")
    if isinstance(output, dict) and "effort" in output and not claude_of(model).adaptive:
        fitting.warn("effort_dropped")
        rest = {name: value for name, value in output.items() if name != "effort"}
        body = {name: value for name, value in body.items() if name != "output_config"}
        body |= {"output_config": rest} if rest else {}
    return body


def _is_marked(body: Mapping[str, Any]) -> bool:
    """Whether the caller says itself what is to be cached."""
    turns = [turn.get("content") for turn in body["messages"] if isinstance(turn, dict)]
    lists = [body.get("system"), body.get("tools"), *turns]
    blocks = [each for found in lists if isinstance(found, list) for each in found]
    return "cache_control" in body or any(
        isinstance(each, dict) and "cache_control" in each for each in blocks
    )


def _marked(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body whose system prompt and tools are marked at their ends for a cache."""
    system, tools = body.get("system"), body.get("tools")
    if isinstance(system, str):
        system = [{"type": "text", "text": system}] if system.strip() else None
    marked = {
        name: [*found[:-1], {**found[-1], "cache_control": CACHED}]
        for name, found in (("system", system), ("tools", tools))
        if isinstance(found, list) and found and isinstance(found[-1], dict)
    }
    return {**body, **marked}


def _kind_of_thinking(body: Mapping[str, Any]) -> str | None:
    thinking = body.get("thinking")
    return thinking.get("type") if isinstance(thinking, dict) else None


def _as_user(message: Any) -> Any:
    """Return a system message among the turns as the user's, which says whose it is."""
    if not isinstance(message, dict) or message.get("role") != "system":
        return message
    said = message.get("content")
    blocks = [{"type": "text", "text": said}] if isinstance(said, str) else list(said or ())
    return {"role": "user", "content": [system_note(), *blocks]}
