"""Embeddings through LiteLLM: what `litellm.aembedding` is given, and the vectors it returns."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from orchestify.errors import InvalidParameterError
from orchestify.lanes.litellm.answer import own_headers
from orchestify.lanes.litellm.guard import OPTIONS
from orchestify.lanes.openai.embeddings import embeddings_of
from orchestify.values import EmbeddingRequest, EmbeddingResponse

EMBEDDING_CLIENTS = frozenset({"azure", "gemini", "openai"})
"""Backends that take a client of ours for embeddings as well: each was tried."""

_TAKE_TOKENS = frozenset({"azure", "openai"})
_SETTINGS = frozenset({"api_version"})  # of the options that a guard allows, those of no body


def embedding_fields(
    request: EmbeddingRequest, model: str, backend: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments for a request; the configuration's fields of chats are left out.

    Raises:
        InvalidParameterError: an input is given as tokens, and the backend may have others.
    """
    if backend not in _TAKE_TOKENS and not all(isinstance(each, str) for each in request.inputs):
        raise InvalidParameterError(
            "texts: this provider takes no tokens, since they are another tokenizer's; give texts"
        )
    settings = {
        name: value for name, value in options.items() if name in _SETTINGS or name not in OPTIONS
    }
    fields = {
        "model": model,
        "input": [each if isinstance(each, str) else list(each) for each in request.inputs],
        "dimensions": request.dimensions,
        "allowed_openai_params": ["dimensions"] if request.dimensions else None,
        **deepcopy({**settings, **request.options}),  # LiteLLM writes into what it is given
    }
    return {name: value for name, value in fields.items() if value is not None}


def embeddings_in(answer: Any, body: Any, request: EmbeddingRequest) -> EmbeddingResponse:
    """Return LiteLLM's answer, whose form is OpenAI's; `body` is the provider's own where known.

    Usage is only what the provider reported: LiteLLM makes up what it did not.
    """
    form = answer.model_dump()
    reported = body.get("usage") if isinstance(body, Mapping) else None
    form["usage"] = reported if isinstance(reported, Mapping) else None
    return embeddings_of(form, request, own_headers(answer))
