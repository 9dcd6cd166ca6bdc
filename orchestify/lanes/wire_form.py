"""A request as bytes, by which equal ones are known where its body is not ours to write."""

from __future__ import annotations

from dataclasses import replace

from orchestify.resources.plain_json import ENCODER
from orchestify.values import CompletionRequest


def request_form(request: CompletionRequest, *beside: object) -> bytes | None:
    """Return a request, without its times, and what stands `beside` it as JSON.

    None where a part of it has no JSON.
    """
    form = request.response_format
    if form is not None and form.model_class is not None:  # its schema is what is sent
        form = replace(form, model_class=None)
    bare = replace(
        request, response_format=form, timeout_s=None, connect_timeout_s=None, idle_timeout_s=None
    )
    try:
        return ENCODER.encode((*beside, bare))
    except (TypeError, ValueError, RecursionError):
        return None
