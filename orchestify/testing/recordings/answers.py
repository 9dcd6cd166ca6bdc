"""What a lane answers, as plain values and back: answers, a stream's pieces, vectors, errors."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from array import array
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from orchestify import errors
from orchestify.errors import APIError, OrchestifyError, RecordingError, StreamInterruptedError
from orchestify.testing.recordings.plain import Plain, plain, written_fields
from orchestify.values import (
    EmbeddingResponse,
    LLMResponse,
    NativeEvent,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

T = TypeVar("T")

_ANSWERED = ("content", "model", "finish_reason", "warnings", "cost_source")
_RULES = ("retryable", "trips_breaker", "falls_back", "may_be_billed", "amended")
_TYPECODES = {"float32": "f", "float64": "d"}


def answer_form(response: LLMResponse, *, with_raw: bool) -> dict[str, Plain]:
    """Return an answer without what the call path sets, its headers, and its raw form.

    `with_raw` keeps that: an answer in the words of a protocol is in it alone.
    """
    written = written_fields(response)
    found = {name: written[name] for name in _ANSWERED if name in written}
    if response.thinking:
        found["thinking"] = written["thinking"]
    if response.tool_calls:
        found["tool_calls"] = [_call_form(each) for each in response.tool_calls]
    found["usage"] = written_fields(response.usage)
    if response.cost_usd is not None:
        found["cost_usd"] = written["cost_usd"]
    if with_raw and isinstance(response.raw_response, Mapping):
        found["raw_response"] = written["raw_response"]
    return found


def answer_of(form: Plain) -> LLMResponse:
    """Return the answer of such a form. Raises RecordingError."""
    found = _mapping(form)
    usage = _made(found.get("usage", {}), Usage)
    counts = {"tokens_input": usage.input_tokens, "tokens_output": usage.output_tokens}
    calls = [_with_arguments(each) for each in found.get("tool_calls", ())]
    return _made({**found, **counts, "tool_calls": calls}, LLMResponse)


def piece_form(event: StreamEvent) -> dict[str, Plain]:
    """Return a piece of a stream, all but its end."""
    if isinstance(event, TextDelta):
        return written_fields(event)
    if isinstance(event, ThinkingDelta):
        return {"thinking": plain(event.text)}
    if isinstance(event, ToolCallDelta):
        return {"tool_call": written_fields(event)}
    if isinstance(event, UsageUpdate):
        return {"usage": written_fields(event.usage)}
    if isinstance(event, NativeEvent):
        return {"native": plain(event.event), "is_output": event.is_output}
    raise TypeError(f"{type(event).__name__} is no piece")


def piece_of(form: Plain) -> StreamEvent:
    """Return the piece of such a form. Raises RecordingError."""
    found = _mapping(form)
    if "thinking" in found:
        return _made({"text": found["thinking"]}, ThinkingDelta)
    if "tool_call" in found:
        return _made(found["tool_call"], ToolCallDelta)
    if "usage" in found:
        return UsageUpdate(_made(found["usage"], Usage))
    if "native" in found:
        return _made({"event": found["native"], "is_output": found.get("is_output")}, NativeEvent)
    return _made(found, TextDelta)


def vectors_form(response: EmbeddingResponse) -> dict[str, Plain]:
    """Return vectors as base64 of floats, the lowest byte first, with what they used."""
    written = written_fields(response)
    vectors = [each if isinstance(each, array) else array("d", each) for each in response.vectors]
    is_narrow = bool(vectors) and all(each.typecode == "f" for each in vectors)
    kind = "float32" if is_narrow else "float64"
    return {
        "type": kind,
        "vectors": [_packed(array(_TYPECODES[kind], each)) for each in vectors],
        **{name: written[name] for name in ("model", "warnings", "cost_source") if name in written},
        "usage": written_fields(response.usage),
        **({} if response.cost_usd is None else {"cost_usd": written["cost_usd"]}),
    }


def vectors_of(form: Plain) -> EmbeddingResponse:
    """Return the vectors of such a form. Raises RecordingError."""
    found = _mapping(form)
    code = _TYPECODES.get(str(found.get("type")))
    if code is None:
        raise RecordingError(f"the type of vectors is one of {', '.join(_TYPECODES)}")
    told = _made({**found, "content": "", "finish_reason": "", **_NO_COUNTS}, LLMResponse)
    return EmbeddingResponse(
        tuple(_unpacked(each, code) for each in found.get("vectors", ())),
        told.model,
        told.usage,
        told.cost_usd,
        told.cost_source,
        warnings=told.warnings,
    )


def error_form(error: OrchestifyError) -> dict[str, Plain]:
    """Return an error by its class, its message and what the policies read of it."""
    kind = next(each for each in type(error).__mro__ if vars(errors).get(each.__name__) is each)
    form = {"type": kind.__name__, "message": plain(str(error.args[0]) if error.args else "")}
    if not isinstance(error, APIError):
        return form
    form |= {"model": error.model, "status": error.status, "retry_after_s": error.retry_after_s}
    usual = _bare(form)
    form |= {
        name: getattr(error, name)
        for name in _RULES
        if getattr(error, name) != getattr(usual, name)
    }
    if isinstance(error.usage, Usage):
        form["usage"] = written_fields(error.usage)
    form["cost_usd"] = plain(error.cost_usd)
    form["text"] = plain(getattr(error, "text", None))
    return {name: value for name, value in form.items() if value not in (None, "")}


def error_of(form: Plain, provider_id: str) -> OrchestifyError:
    """Return the error of such a form. Raises RecordingError."""
    found = _mapping(form)
    error = _bare(found)
    if isinstance(error, APIError):
        error.provider = provider_id
        for name in _RULES:
            if name in found:
                setattr(error, name, bool(found[name]))
        if "usage" in found:
            error.usage = _made(found["usage"], Usage)
        if "cost_usd" in found:
            error.cost_usd = _made({**_BLANK, "cost_usd": found["cost_usd"]}, LLMResponse).cost_usd
    if isinstance(error, StreamInterruptedError):
        error.text = str(found.get("text", ""))
    return error


_NO_COUNTS = {"tokens_input": 0, "tokens_output": 0}
_BLANK = {"content": "", "model": "", "finish_reason": "", **_NO_COUNTS}


def _call_form(call: ToolCall) -> dict[str, Plain]:
    """Return a tool call; of arguments that are what their text says, the text alone."""
    form: dict[str, Plain] = {"id": call.id, "name": call.name}
    if call.raw_arguments is None or _parsed(call.raw_arguments) != call.arguments:
        form["arguments"] = plain(call.arguments)
    if call.raw_arguments is not None:
        form["raw_arguments"] = plain(call.raw_arguments)
    return form if call.valid else form | {"valid": False}


def _with_arguments(form: Plain) -> dict[str, Plain]:
    found = _mapping(form)
    if "arguments" in found:
        return found
    return {**found, "arguments": _parsed(str(found.get("raw_arguments")))}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _bare(form: Mapping[str, Plain]) -> OrchestifyError:
    kind = vars(errors).get(str(form.get("type")))
    if not (isinstance(kind, type) and issubclass(kind, OrchestifyError)):
        raise RecordingError("an error's type is the name of a class of orchestify.errors")
    message = str(form.get("message", ""))
    if not issubclass(kind, APIError):
        return kind(message)
    known: dict[str, Any] = {name: form.get(name) for name in ("model", "status", "retry_after_s")}
    return kind(message, **known)


def _packed(vector: array[float]) -> str:
    if sys.byteorder == "big":
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()


def _unpacked(text: Plain, code: str) -> array[float]:
    vector: array[float] = array(code)
    try:
        vector.frombytes(base64.b64decode(text))
    except (TypeError, ValueError, binascii.Error):
        raise RecordingError("a vector is base64 of floats") from None
    if sys.byteorder == "big":
        vector.byteswap()
    return vector


def _mapping(form: Plain) -> dict[str, Plain]:
    if not isinstance(form, dict):
        raise RecordingError(f"expected a mapping, not a {type(form).__name__}")
    return form


def _made(form: Plain, kind: type[T]) -> T:
    try:
        return msgspec.convert(form, kind)
    except msgspec.ValidationError as error:
        raise RecordingError(f"no {kind.__name__}: {error}") from None
