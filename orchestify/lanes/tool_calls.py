"""Tool calls in a conversation that another provider may have begun, as the next one takes them.

Ids have the form of the target and differ from each other, alike in call and result; results stand
directly behind their calls.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from orchestify.errors import InvalidParameterError
from orchestify.values import LLMMessage, Thinking

IdForm: TypeAlias = Callable[[str], str]

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def any_id(call_id: str) -> str:
    """Return an id for an endpoint that takes any text."""
    return call_id or "call"


def word_id(call_id: str) -> str:
    """Return an id for Anthropic: letters, digits, `_` and `-`."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", call_id) or "call"


def short_id(call_id: str) -> str:
    """Return an id for OpenAI: at most 40 characters.

    Source: its error, "string too long. Expected a string with maximum length 40".
    """
    return any_id(call_id) if len(call_id) <= 40 else f"call_{_hashed(call_id, 24)}"


def nine_id(call_id: str) -> str:
    """Return an id for Mistral: nine letters or digits.

    Source: its error, "Tool call id was ... but must be a-z, A-Z, 0-9, with a length of 9".
    """
    return call_id if re.fullmatch(r"[a-zA-Z0-9]{9}", call_id) else _hashed(call_id, 9)


def paired(
    messages: tuple[LLMMessage, ...], form: IdForm, *, complete: bool
) -> tuple[LLMMessage, ...]:
    """Return a conversation whose calls and results belong together as the target wants it.

    An id that was used before gets a new one (some servers begin with `call_0` in every turn);
    the result that follows is taken for the latest call of its id. What stands between calls and
    their results stands behind these. An id depends on what comes before it only, so that the
    beginning of a growing conversation stays what it was, for caches.

    Raises:
        InvalidParameterError: `complete` is asked for, and a call has no result, or a result no
            call.
    """
    if not any(message.tool_calls or message.role == "tool" for message in messages):
        return messages
    return tuple(_Pairing(form, complete=complete).of(messages))


class _Pairing:
    """Goes through a conversation once; `_open` holds, by id, the new ids without a result."""

    def __init__(self, form: IdForm, *, complete: bool) -> None:
        self._form = form
        self._complete = complete
        self._used: set[str] = set()
        self._open: dict[str, deque[str]] = {}
        self._last: dict[str, str] = {}
        self._late: list[LLMMessage] = []
        self._calls_are_over = False
        self._called_at = 0

    def of(self, messages: tuple[LLMMessage, ...]) -> Iterator[LLMMessage]:
        """Yield the messages with fitting ids, results directly behind their calls."""
        for number, message in enumerate(messages):
            if message.role == "assistant":
                if self._calls_are_over:
                    yield from self._close()
                yield self._called(message, number) if message.tool_calls else message
                continue
            self._calls_are_over = True
            if message.role == "tool":
                yield self._answered(message, number)
            elif self._open:
                self._late.append(message)
            else:
                yield from self._come_late()
                yield message
        yield from self._close()

    def _close(self) -> Iterator[LLMMessage]:
        """Yield what waited for the results of a turn that has ended."""
        if self._open and self._complete:
            raise InvalidParameterError(f"messages[{self._called_at}]: a tool call has no result")
        self._open.clear()
        self._calls_are_over = False
        yield from self._come_late()

    def _come_late(self) -> Iterator[LLMMessage]:
        yield from self._late
        self._late.clear()

    def _called(self, message: LLMMessage, number: int) -> LLMMessage:
        self._called_at = number
        new_ids: dict[str, str] = {}
        calls = []
        for call in message.tool_calls:
            new_id = new_ids[call.id] = self._new_id(call.id)
            self._open.setdefault(call.id, deque()).append(new_id)
            calls.append(call if call.id == new_id else replace(call, id=new_id))
        self._last |= new_ids
        if all(old == new for old, new in new_ids.items()) and len(calls) == len(new_ids):
            return message
        thinking = _renamed(message.thinking, new_ids)
        return replace(message, tool_calls=tuple(calls), thinking=thinking)

    def _answered(self, message: LLMMessage, number: int) -> LLMMessage:
        given = message.tool_call_id or ""
        waiting = self._open.get(given)
        if not waiting:
            if self._complete:
                raise InvalidParameterError(
                    f"messages[{number}]: a result without a call before it"
                )
            return _with_result_id(message, self._last.get(given) or self._form(given))
        new_id = waiting.popleft()
        if not waiting:
            del self._open[given]
        return _with_result_id(message, new_id)

    def _new_id(self, given: str) -> str:
        new_id, number = self._form(given), 1
        while new_id in self._used:
            number += 1
            new_id = self._form(f"{given or 'call'}_{number}")
        self._used.add(new_id)
        return new_id


def _with_result_id(message: LLMMessage, new_id: str) -> LLMMessage:
    return message if message.tool_call_id == new_id else replace(message, tool_call_id=new_id)


def _renamed(thinking: Thinking | None, new_ids: Mapping[str, str]) -> Thinking | None:
    """Return thinking whose blocks name their calls by the new ids."""
    if thinking is None or not thinking.blocks:
        return thinking
    return replace(
        thinking, blocks=tuple(_renamed_block(each, new_ids) for each in thinking.blocks)
    )


def _renamed_block(block: Mapping[str, Any], new_ids: Mapping[str, str]) -> Mapping[str, Any]:
    named = {
        key: new_ids[block[key]]
        for key in ("id", "tool_call_id")
        if isinstance(block.get(key), str) and block[key] in new_ids
    }
    return {**block, **named} if named else block


def _hashed(text: str, length: int) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest())
    letters = []
    for _ in range(length):
        number, letter = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[letter])
    return "".join(letters)
