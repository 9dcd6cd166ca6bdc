"""OpenAI's Chat Completions: the last look at a request, before its body is made.

What differs by endpoint is in its `Dialect`, with the sources there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace

from orchestify.lanes.fitting import Fitting, drop_blanks, parts_of
from orchestify.lanes.openai.dialects import Dialect, refused_by_openai
from orchestify.lanes.openai.thinking import (
    effort_words,
    thinking_off_fields,
    thinks_unless_told,
)
from orchestify.lanes.tool_calls import any_id, nine_id, paired, short_id
from orchestify.values import CompletionRequest, LLMMessage

_IDS = {"any": any_id, "short": short_id, "nine": nine_id}
_GO_ON = "OK."


def fitted(request: CompletionRequest, dialect: Dialect, refused: Collection[str] = ()) -> Fitting:
    """Return a request as an endpoint takes it, with words for what was changed.

    `refused` are the sampling parameters that a model was seen to refuse.

    Raises:
        InvalidParameterError: it has what the endpoint refuses and cannot be left out.
    """
    fitting = Fitting(request)
    messages = paired(request.messages, _IDS[dialect.call_ids], complete=dialect.pairs_results)
    if messages is not request.messages:
        fitting.change(messages=messages)
    if not dialect.blank_texts:
        drop_blanks(fitting, keep_results=True)
    if not dialect.user_after_tool:
        fitting.change(messages=tuple(_with_answers(fitting.request.messages)))
    _fit_thinking(fitting, dialect)
    _fit_sampling(fitting, dialect, refused)
    if not dialect.cache_control and _has_cache_marks(fitting.request):
        fitting.warn("cache_control_dropped")
    return fitting


def _with_answers(messages: tuple[LLMMessage, ...]) -> Iterator[LLMMessage]:
    """Yield the messages with an answer between a tool's result and what is no answer.

    Source: Mistral's error, "Unexpected role 'user' after role 'tool'"; the system's is none there.
    """
    before = ""
    for message in messages:
        if before == "tool" and message.role in ("user", "system"):
            yield LLMMessage("assistant", _GO_ON)
            yield message if message.role == "user" else replace(message, role="user")
        else:
            yield message
        before = message.role


def _fit_thinking(fitting: Fitting, dialect: Dialect) -> None:
    request = fitting.request
    if fitting.forces_tool and not dialect.forced_while_thinking:
        _let_tool_win(fitting, dialect)
        request = fitting.request
    if request.thinking_off and not thinking_off_fields(dialect, request.model)[1]:
        fitting.warn("thinking_not_off")
    effort = request.thinking.effort if request.thinking else None
    if effort is None or dialect.thinking not in ("effort", "reasoning"):
        return
    if effort not in effort_words(dialect, request.model):
        fitting.warn("thinking_effort_changed")


def _let_tool_win(fitting: Fitting, dialect: Dialect) -> None:
    """Let thinking that the caller did not ask for give way to a tool that must be called."""
    request = fitting.request
    if request.thinking is not None and not request.thinking_configured:
        raise fitting.refuse("thinks, or is made to call a tool, but not both")
    by_itself = not request.thinking_off and thinks_unless_told(dialect, request.model)
    if request.thinking is not None or by_itself:
        fitting.change("thinking_dropped", thinking=None, thinking_off=True)


def _fit_sampling(fitting: Fitting, dialect: Dialect, seen: Collection[str]) -> None:
    request = fitting.request
    refused = refused_by_openai(request.model, thinking=request.thinking is not None)
    if dialect.fixed_sampling and re.search(dialect.fixed_sampling, request.model):
        seen = {*seen, "temperature", "top_p"}
    if request.temperature is not None and (
        "temperature" in seen or ("temperature" in refused and request.temperature != 1)
    ):
        fitting.change("temperature_dropped", temperature=None)
    elif request.temperature is not None and request.temperature > dialect.max_temperature:
        fitting.change("temperature_reduced", temperature=dialect.max_temperature)
    if request.top_p is not None and ("top_p" in refused or "top_p" in seen):
        fitting.change("top_p_dropped", top_p=None)
    if request.stop and ("stop" in refused or "stop" in seen):
        fitting.change("stop_dropped", stop=())


def _has_cache_marks(request: CompletionRequest) -> bool:
    marked = (*parts_of(request.messages), *request.tools)
    return any(each.cache_control for each in marked)
