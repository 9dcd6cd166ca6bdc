"""The bounds of an answer, kept on its bytes: before LiteLLM parses them, on the event loop.

Source of the names: OpenAI, "function" of a call; Anthropic, "tool_use"; Google, "functionCall";
Amazon Bedrock, "toolUse". In a text each would stand behind a backslash.
"""

from __future__ import annotations

import re

from orchestify.core.providers import AnswerBounds, ProviderConfig
from orchestify.lanes.failures import MalformedError, too_long

_CALL = re.compile(rb'"(?:function|functionCall|toolUse)"\s*:|"type"\s*:\s*"tool_use"')
_STEP = 1 << 20

MAX_TOOL_CALLS = 512
"""Calls of tools in an answer where the configuration says nothing: LiteLLM reads each on the
event loop, in about 0.1 ms."""


def bounds_of(config: ProviderConfig) -> AnswerBounds:
    """Return the bounds of a provider's answers that go through LiteLLM."""
    bounds = config.answer_bounds
    if "max_tool_calls" in bounds.model_fields_set:
        return bounds
    return bounds.model_copy(update={"max_tool_calls": MAX_TOOL_CALLS})


def check_body(body: bytes, bounds: AnswerBounds) -> None:
    """Check a whole answer but for its size. Raises MalformedError."""
    _Counts(bounds).add(body)


class LineBounds:
    """Checks a stream as it comes: its size, and what each of its lines holds."""

    def __init__(self, bounds: AnswerBounds) -> None:
        self._bounds = bounds
        self._size = 0
        self._line = _Counts(bounds)

    def take(self, piece: bytes) -> None:
        """Check the next piece. Raises MalformedError."""
        self._size += len(piece)
        if self._size > self._bounds.max_bytes:
            raise too_long(self._bounds.max_bytes)
        begun, *lines = piece.split(b"\n")
        self._line.add(begun)
        for line in lines:
            self._line = _Counts(self._bounds)
            self._line.add(line)


class _Counts:
    def __init__(self, bounds: AnswerBounds) -> None:
        self._bounds = bounds
        self._objects = 0
        self._calls = 0

    def add(self, text: bytes) -> None:
        for at in range(0, len(text), _STEP):
            part = text[at : at + _STEP]
            self._objects += part.count(b"{") + part.count(b"[")
            self._calls += sum(1 for _ in _CALL.finditer(part))
        if self._objects > self._bounds.max_json_objects:
            most = self._bounds.max_json_objects
            raise MalformedError(f"the answer has more than {most:,} JSON objects")
        if self._calls > self._bounds.max_tool_calls:
            most = self._bounds.max_tool_calls
            raise MalformedError(f"the answer has more than {most} tool calls (answer_bounds)")
