"""Answers that must have a form: read as JSON, and as an instance where a model was given.

Models without constrained decoding write their thoughts before the JSON, or put it into a fence of
Markdown; the JSON is the answer all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from orchestify.errors import StructuredOutputError
from orchestify.values import LLMResponse, ResponseFormat


def parsed_answer(response: LLMResponse, form: ResponseFormat) -> LLMResponse:
    """Return the answer with `parsed` set; one that calls tools or was refused is left as it is.

    Raises:
        StructuredOutputError: the text is no JSON, or does not fit the model class; the error's
            `response` is the answer.
    """
    if response.tool_calls or response.finish_reason in {"refusal", "content_filter"}:
        return response
    parsed, reason = _read(response.content, form)
    if not reason:
        return replace(response, parsed=parsed)
    if reason == _NO_JSON and response.finish_reason == "length":
        reason += ", it was cut at max_tokens"
    failure = StructuredOutputError(reason, provider=response.provider, model=response.model)
    failure.response = response
    raise failure


def _read(content: str, form: ResponseFormat) -> tuple[Any, str]:
    """Return what the answer holds and "", or None and why it does not fit.

    Raises nothing: of a frame that raises, a traceback may show the answer.
    """
    reason, model = _NO_JSON, form.model_class
    for text in _where_json_is(content):
        try:
            return (json.loads(text) if model is None else model.model_validate_json(text)), ""
        except ValidationError as error:
            reason = f"the answer does not fit {form.name}: {_places(error)}"
        except (ValueError, RecursionError):
            continue
        except Exception as error:  # a host's own validator: the answer is paid for
            reason = f"a validator of {form.name} raised {type(error).__name__}"
    return None, reason


_NO_JSON = "the answer is no JSON"


def _where_json_is(content: str) -> Iterator[str]:
    """Yield the texts that may be the JSON: the whole, what is behind thoughts, what is in fences.

    Thoughts end with the last `</think>`; of several fences the last one is the answer. What is too
    long to be read at once is left out.
    """
    if len(content) > _MOST_CHARS:
        return
    yield content
    behind = _THOUGHTS.split(content)[-1]
    if behind != content:
        yield behind
    _, fence, fenced = behind.partition("```")
    if fence:
        yield _LANGUAGE.sub("", fenced.rpartition("```")[0], count=1)
        yield _LANGUAGE.sub("", behind.rpartition("```")[0].rpartition("```")[2], count=1)


_MOST_CHARS = 1 << 20
_THOUGHTS = re.compile(r"</think(?:ing)?>")
_LANGUAGE = re.compile(r"\A\w*\s")


def _places(error: ValidationError) -> str:
    places = sorted({".".join(map(str, each["loc"])) or "answer" for each in error.errors()})
    return ", ".join(places[:5])
