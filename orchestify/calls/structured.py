"""Answers that must have a form: read as JSON, and as an instance where a model was given."""

from __future__ import annotations

import json
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
    try:
        return replace(response, parsed=_parsed(response.content, form))
    except ValidationError as error:
        places = sorted({".".join(map(str, each["loc"])) or "answer" for each in error.errors()})
        reason = f"the answer does not fit {form.name}: {', '.join(places[:5])}"
    except (ValueError, RecursionError):
        cut = response.finish_reason == "length"
        reason = "the answer is no JSON" + (", it was cut at max_tokens" if cut else "")
    failure = StructuredOutputError(reason, provider=response.provider, model=response.model)
    failure.response = response
    raise failure


def _parsed(text: str, form: ResponseFormat) -> Any:
    if form.model_class is not None:
        return form.model_class.model_validate_json(text)
    return json.loads(text)
