"""What is known of one call through LiteLLM beside what it returns or raises."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from orchestify.values import NOTHING


@dataclass(slots=True)
class Exchange:
    """The HTTP request of one call and its answer, as our transport saw them.

    `sent` says that the request left, None where nobody can tell: LiteLLM took no client of ours
    and has not told its `logger_fn`. `failure` is what the transport raised. `close` ends the
    connection of a stream.
    """

    stream: bool = False
    timeout_s: float | None = None
    connect_timeout_s: float | None = None
    sent: bool | None = None
    headers: Mapping[str, str] = NOTHING
    failure: Exception | None = None
    close: Callable[[], None] = lambda: None
    _body: Any = field(default=None, repr=False)

    @property
    def body(self) -> Mapping[str, Any] | None:
        """The provider's whole answer, parsed; None where it is unknown or no JSON object."""
        if isinstance(self._body, bytes | str):
            content, self._body = self._body, None
            with contextlib.suppress(ValueError, RecursionError):
                self._body = json.loads(content)
        return self._body if isinstance(self._body, Mapping) else None

    def take(self, headers: Mapping[str, str], body: Any) -> None:
        """Keep a whole answer: its bytes, or what was parsed of them."""
        self.headers, self._body = headers, body

    def note(self, details: Mapping[str, Any]) -> None:
        """Take what LiteLLM tells its `logger_fn`, before and after the request."""
        self.sent = True
        if details.get("log_event_type") == "post_api_call":
            self._body = details.get("original_response") or self._body

    def forget(self) -> None:
        """Let go of the answer: tasks that LiteLLM leaves running hold the exchange."""
        self._body, self.headers, self.close = None, NOTHING, lambda: None


EXCHANGE: ContextVar[Exchange | None] = ContextVar("orchestify_litellm_exchange", default=None)
"""The exchange of the call that is under way here; None outside our calls."""


def note(details: Mapping[str, Any]) -> None:
    """LiteLLM's `logger_fn`: note what it tells for the call that is under way."""
    exchange = EXCHANGE.get()
    if exchange is not None:
        exchange.note(details)
