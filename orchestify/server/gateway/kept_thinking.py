"""Thinking that clients do not send back: kept beside an answer's tool calls, and put back.

Claude refuses tool results whose turn does not begin with the thinking it began with, Gemini calls
without their signatures; most clients of these protocols know of neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestify.server.conversations import KeptConversations
from orchestify.values import LLMMessage, LLMResponse, TextPart, Thinking, ToolCall


@dataclass(frozen=True, slots=True)
class KeptThinking:
    """The thinking of one tenant's conversations with one model or agent.

    It is found by the conversation before it and by the names and arguments of the calls beside
    it; ids do not count, for clients make them anew and models repeat them.
    """

    kept: KeptConversations
    tenant: str
    model: str

    async def restored(self, messages: Sequence[LLMMessage]) -> Sequence[LLMMessage]:
        """Return a conversation with what was kept of it, where its messages lack it."""
        if not self.kept.may_have(self.tenant):
            return messages
        lacking = [place for place, message in enumerate(messages) if _lacks_blocks(message)]
        if not lacking:
            return messages
        key_of = self._keys(messages)
        keys = [key_of(place, messages[place].tool_calls) for place in lacking]
        found = await self.kept.get(self.tenant, keys)
        complete = list(messages)
        for place, text in zip(lacking, found, strict=True):
            if text is not None:
                complete[place] = _with_thinking(messages[place], json.loads(text))
        return complete

    async def keep(self, messages: Sequence[LLMMessage], response: LLMResponse) -> None:
        """Keep what is to be sent back with the answer's tool calls."""
        thinking, calls = response.thinking, response.tool_calls
        if not calls or not thinking:
            return
        kept = {
            "text": thinking.text,
            "blocks": [dict(block) for block in thinking.blocks],
            "calls": [call.id for call in calls],
        }
        key = self._keys(messages)(len(messages), calls)
        await self.kept.put(self.tenant, key, json.dumps(kept))

    def _keys(self, messages: Sequence[LLMMessage]) -> Callable[[int, Iterable[ToolCall]], str]:
        """Return what gives the key of calls at a place, asked from the first place on."""
        before, taken = hashlib.sha256(), 0

        def key_of(place: int, calls: Iterable[ToolCall]) -> str:
            nonlocal taken
            for message in messages[taken:place]:
                before.update(_canonical(message))
            taken = place
            asked = [self.tenant, self.model, before.hexdigest(), _told(calls)]
            return self.kept.key_of(json.dumps(asked))

        return key_of


def _lacks_blocks(message: LLMMessage) -> bool:
    return bool(message.tool_calls) and (message.thinking is None or not message.thinking.blocks)


def _with_thinking(message: LLMMessage, kept: Mapping[str, Any]) -> LLMMessage:
    """Return a message with its thinking, whose blocks name the calls by their ids of today."""
    ids = dict(zip(kept["calls"], (call.id for call in message.tool_calls), strict=True))
    blocks = tuple(_renamed(block, ids) for block in kept["blocks"])
    return replace(message, thinking=Thinking(kept["text"], blocks))


def _renamed(block: Mapping[str, Any], ids: Mapping[str, str]) -> Mapping[str, Any]:
    named = {
        name: ids[block[name]]
        for name in ("id", "tool_call_id")
        if isinstance(block.get(name), str) and block[name] in ids
    }
    return {**block, **named}


def _canonical(message: LLMMessage) -> bytes:
    """Return what a message says, however a client writes it."""
    parts = () if isinstance(message.content, str) else message.content
    images = [
        hashlib.sha256(part.data_url.encode()).hexdigest()
        for part in parts
        if not isinstance(part, TextPart)
    ]
    said = [message.role, message.text.strip(), images, _told(message.tool_calls)]
    return json.dumps(said).encode()


def _told(calls: Iterable[ToolCall]) -> list[list[str]]:
    return [[call.name, _arguments(call)] for call in calls]


def _arguments(call: ToolCall) -> str:
    """Return a call's arguments in one form; as they were written where they are no JSON."""
    if not call.valid:
        return call.raw_arguments or ""
    return json.dumps(dict(call.arguments), sort_keys=True)
