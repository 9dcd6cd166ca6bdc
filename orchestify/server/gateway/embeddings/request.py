"""A request of OpenAI's Embeddings, read into the arguments of a call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orchestify.calls.embedding import MAX_DIMENSIONS
from orchestify.server.gateway.json_fields import body_of, needed, optional, wrong

MAX_INPUTS, MAX_TOKENS_AN_INPUT = 10_000, 100_000
PASSED_ON = ("user",)
"""Fields for providers that speak OpenAI's protocol themselves."""

_READ = frozenset({"model", "input", "dimensions", "encoding_format", *PASSED_ON})


@dataclass(slots=True)
class EmbeddingsRequest:
    """What is asked for: `arguments` are those of `embed`; `is_packed`: vectors as base64."""

    model: str
    arguments: dict[str, Any] = field(repr=False)
    passed_on: dict[str, Any] = field(repr=False)
    is_packed: bool


def embeddings_request(body: bytes) -> EmbeddingsRequest:
    """Read a request's body.

    Raises:
        InvalidParameterError: a field cannot be used; the message begins with its name.
    """
    form = body_of(body)
    unknown = sorted(name for name in form.keys() - _READ if form[name] is not None)
    if unknown:
        raise wrong(unknown[0][:40], "is not supported")
    arguments: dict[str, Any] = {"texts": _inputs(form.get("input"))}
    dimensions = optional(form, "dimensions", int)
    if dimensions is not None:
        if not 0 < dimensions <= MAX_DIMENSIONS:
            raise wrong("dimensions", f"expected a number from 1 to {MAX_DIMENSIONS}")
        arguments["dimensions"] = dimensions
    encoding = optional(form, "encoding_format", str) or "float"
    if encoding not in ("float", "base64"):
        raise wrong("encoding_format", "expected float or base64")
    user = optional(form, "user", str)
    passed_on = {} if user is None else {"user": user}
    return EmbeddingsRequest(needed(form, "model", str), arguments, passed_on, encoding == "base64")


def _inputs(given: Any) -> list[Any]:
    """Return texts, or lists of tokens; one of either may stand alone."""
    if isinstance(given, str) or _are_tokens(given):
        given = [given]
    if not isinstance(given, list) or not given:
        raise wrong("input", "expected a text, texts, or lists of tokens, and one at least")
    if len(given) > MAX_INPUTS:
        raise wrong("input", f"expected {MAX_INPUTS} texts at most")
    for number, each in enumerate(given):
        if not each or not (isinstance(each, str) or _are_tokens(each)):
            raise wrong(f"input[{number}]", "expected a text or tokens, and not empty")
    return given


def _are_tokens(given: Any) -> bool:
    is_list = isinstance(given, list) and 0 < len(given) <= MAX_TOKENS_AN_INPUT
    return is_list and all(type(each) is int and 0 <= each < 2**31 for each in given)
