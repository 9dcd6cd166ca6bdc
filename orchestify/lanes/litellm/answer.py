"""What `litellm.acompletion` answers, as our values.

LiteLLM's objects are read by name: they are pydantic classes of its own, in OpenAI's form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from orchestify.lanes.answers import (
    FAILED,
    FINISH,
    finish_reason,
    reported_cost_usd,
    tool_call,
)
from orchestify.lanes.http.endpoint import kept_headers
from orchestify.lanes.litellm.usage import answered_usage
from orchestify.values import NOTHING, FinishReason, LLMResponse, Thinking

_SERVER_TOOL = "srvtoolu_"  # the ids of what Anthropic runs itself
_HEADER = "llm_provider-"  # what LiteLLM writes before a provider's own headers


def response_of(answer: Any, body: Any, headers: Mapping[str, str] = NOTHING) -> LLMResponse:
    """Return a whole answer.

    `body` is the provider's own, parsed, None where it is not known; `headers` came with it.

    Raises:
        RefusedError: the provider gave up in the middle of the answer.
        LookupError, TypeError, AttributeError: it is no answer.
    """
    choice, own = answer.choices[0], body if isinstance(body, Mapping) else {}
    message = choice.message
    calls = tuple(
        tool_call(each.id, each.function.name or "", each.function.arguments or "")
        for each in message.tool_calls or ()
        if not is_server_tool(each.id)
    )
    backend = answer._hidden_params.get("custom_llm_provider") or ""
    usage = answered_usage(getattr(answer, "usage", None), body, backend, headers)
    cost = reported_cost_usd(own.get("usage"))
    refusal = _refusal(own) or (getattr(message, "provider_specific_fields", None) or {}).get(
        "refusal"
    )
    finish = our_finish(own_finish(own), choice.finish_reason, has_calls=bool(calls))
    return LLMResponse(
        content=message.content or refusal or "",
        model=str(own.get("model") or answer.model or ""),
        tokens_input=usage.input_tokens,
        tokens_output=usage.output_tokens,
        finish_reason="refusal" if refusal and finish == "stop" else finish,
        raw_response=answer.model_dump() if body is None else body,
        tool_calls=calls,
        thinking=_thinking(fields_of(message)),
        usage=usage,
        cost_usd=cost,
        cost_source="none" if cost is None else "provider",
        headers=own_headers(answer),
    )


def _refusal(body: Mapping[str, Any]) -> str | None:
    """Return the words of a refusal in OpenAI's form, which some releases of LiteLLM drop."""
    with suppress(LookupError, TypeError, AttributeError):
        refusal = body["choices"][0]["message"].get("refusal")
        return refusal if isinstance(refusal, str) else None
    return None


def is_server_tool(call_id: str | None) -> bool:
    """Whether a call is of a tool that the provider runs itself; a host must not run it."""
    return (call_id or "").startswith(_SERVER_TOOL)


def our_finish(own: str | None, litellms: str | None, *, has_calls: bool) -> FinishReason:
    """Return our word for the provider's `own`, or for LiteLLM's where nobody knows that.

    Calls that all were the provider's own leave nothing to do: that is `stop`.

    Raises:
        RefusedError: the provider gave up in the middle of the answer.
    """
    known = own is not None and own.lower() in {*FINISH, *FAILED}
    reason = finish_reason(own if known else litellms, has_calls=has_calls)
    return "stop" if reason == "tool_calls" and not has_calls else reason


def own_headers(answer: Any) -> Mapping[str, str]:
    """Return what the provider's headers tell of its rate limits and the request's id."""
    hidden = getattr(answer, "_hidden_params", None) or {}
    headers = hidden.get("additional_headers") or {}
    own = {
        name.removeprefix(_HEADER): str(value)
        for name, value in headers.items()
        if name.startswith(_HEADER)
    }
    if own.get("request-id") == own.get("x-request-id"):
        own.pop("request-id", None)  # a copy that LiteLLM 1.110 makes
    return kept_headers(own)


def own_finish(body: Mapping[str, Any]) -> str | None:
    """Return the provider's own word for why its answer ended."""
    first = next((body[name] for name in ("choices", "candidates") if body.get(name)), [body])[0]
    names = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason")
    words = (first.get(name) for name in names)
    return next((word for word in words if isinstance(word, str)), None)


def thinking_from(text: str, blocks: Iterable[Any]) -> Thinking | None:
    """Return what a model thought, None where that is nothing."""
    thinking = Thinking(text, tuple(dict(block) for block in blocks))
    return thinking or None


def fields_of(model: Any) -> Mapping[str, Any]:
    """Return the fields of a pydantic model; to ask it for one it lacks is slow."""
    extra = getattr(model, "__pydantic_extra__", None)
    return {**vars(model), **extra} if extra else vars(model)


def blocks_in(message: Mapping[str, Any]) -> list[Any]:
    """Return the blocks of thinking in a message or a piece of one: Anthropic's, OpenRouter's."""
    own = message.get("provider_specific_fields") or {}
    blocks = message.get("thinking_blocks") or message.get("reasoning_details")
    blocks = blocks or own.get("reasoning_details")
    return blocks if isinstance(blocks, list) else []


def _thinking(message: Mapping[str, Any]) -> Thinking | None:
    return thinking_from(message.get("reasoning_content") or "", blocks_in(message))
