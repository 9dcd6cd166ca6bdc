"""What passes through LiteLLM during one of our calls: heard and bounded, and not logged."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from orchestify.lanes.litellm.guard import LiteLLMGuard

# LiteLLM's own loggers, and those of its clients that write prompts, headers, URLs or signatures.
LOGGERS = (
    "LiteLLM",
    "LiteLLM Proxy",
    "LiteLLM Router",
    "botocore.auth",
    "botocore.endpoint",
    "httpcore.http11",
    "httpcore.http2",
    "httpx",
    "openai._base_client",
    "openai._legacy_response",
    "openai._response",
)
_POOLS = ("ThreadPoolExecutor", "litellm-")  # how the threads of its pools are called


@dataclass(slots=True)
class Heard:
    """What LiteLLM said of one call: whether the request left, and the answer's body.

    `guard` bounds what leaves, None where the configuration is the host's own.
    """

    guard: LiteLLMGuard | None = None
    sent: bool = False
    _body: Any = field(default=None, repr=False)
    _response: Any = field(default=None, repr=False)

    @property
    def body(self) -> Mapping[str, Any] | None:
        """The provider's answer, parsed; None where LiteLLM kept it to itself."""
        if self._body is None and self._response is not None:
            self._body = self._response.text
        if isinstance(self._body, str):
            with contextlib.suppress(ValueError, RecursionError):
                self._body = json.loads(self._body)
        return self._body if isinstance(self._body, Mapping) else None

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers; empty where LiteLLM kept them to itself."""
        return {} if self._response is None else self._response.headers

    def note(self, details: Mapping[str, Any]) -> None:
        """Take what LiteLLM tells its `logger_fn`, before and after the request."""
        self.sent = True
        if details.get("log_event_type") == "post_api_call":
            self._body = details.get("original_response") or self._body

    def take(self, response: Any) -> None:
        """Take a whole answer from LiteLLM's HTTP client, for where it tells nothing."""
        self._response = response

    def forget(self) -> None:
        """Let go of the body: tasks that LiteLLM leaves running hold what was heard."""
        self._body = self._response = None


CALL: ContextVar[Heard | None] = ContextVar("orchestify_litellm_call", default=None)


def hear(details: Mapping[str, Any]) -> None:
    """Note what LiteLLM tells its `logger_fn`, for the call that is under way."""
    heard = CALL.get()
    if heard is not None:
        heard.note(details)


def send_once(handler: Any) -> None:
    """Take from LiteLLM's HTTP client, during our calls, its second try after a lost connection.

    `handler` is its class `AsyncHTTPHandler`. The route repeats what may be repeated, and books it.
    """
    again = handler.single_connection_post_request

    async def once(self: Any, *args: Any, **fields: Any) -> Any:
        lost = sys.exc_info()[1]  # the handler is called while that is handled
        if CALL.get() is None or lost is None:
            return await again(self, *args, **fields)
        raise lost

    handler.single_connection_post_request = once


def listen(handler: Any) -> None:
    """Hear what passes through LiteLLM's HTTP client during our calls.

    `handler` is its class `AsyncHTTPHandler`. Some backends (Cohere, OpenAI's Responses) tell
    their `logger_fn` neither of the request nor of the answer.
    """
    post = handler.post

    async def heard_post(self: Any, *args: Any, **fields: Any) -> Any:
        heard = CALL.get()
        if heard is None:
            return await post(self, *args, **fields)
        heard.sent = True
        response = await post(self, *args, **fields)
        if not fields.get("stream"):
            heard.take(response)
        return response

    handler.post = heard_post


def stay_home(client: Any) -> None:
    """Follow no redirect during our calls, and keep a guarded one within its bounds.

    `client` is one of httpx's classes `AsyncClient` and `Client`, all of LiteLLM's ways out.
    """
    send = client.send

    def bounded_send(self: Any, request: Any, **fields: Any) -> Any:
        heard = CALL.get()
        if heard is None:
            return send(self, request, **fields)
        if heard.guard is not None:
            heard.guard.let_out(request)
        return send(self, request, **fields | {"follow_redirects": False})

    client.send = bounded_send


def hush() -> None:
    """Drop, on every level, what is logged during our calls; a host's own are left alone.

    LiteLLM ends a call in its thread pool, where nobody can tell whose it was: there all is
    dropped.
    """
    for name in LOGGERS:
        filters = logging.getLogger(name).filters
        if _is_not_ours not in filters:
            filters.insert(0, _is_not_ours)  # LiteLLM's own would already render the message


def _is_not_ours(record: logging.LogRecord) -> bool:
    return CALL.get() is None and not (record.threadName or "").startswith(_POOLS)
