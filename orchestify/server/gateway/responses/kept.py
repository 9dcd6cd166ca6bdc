"""What is kept of answered requests, so that the next one can name it by its id: for 24 hours."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestify.resources.thread_pools import ThreadPools
from orchestify.server.conversations import KeptConversations
from orchestify.server.gateway.json_fields import wrong
from orchestify.server.gateway.responses.items import REFERENCE
from orchestify.server.gateway.responses.request import ResponsesRequest

_LARGE_CHARS = 256 << 10
_PACK_THREADS = ThreadPools(1, "packing")
_OUR_ITEM = re.compile(r"[a-z]+_([0-9a-f]{32})_\d+")


def response_id(call_id: str) -> str:
    """Return the id of the response that a call is answered with."""
    return f"resp_{call_id}"


def item_id(kind: str, call_id: str, index: int) -> str:
    """Return the id of an item of the output; it says of which response it is."""
    return f"{kind}_{call_id}_{index}"


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """An answer, and the items of the conversation before it."""

    body: Mapping[str, Any] = field(repr=False)
    items: list[Any] = field(repr=False)

    @property
    def conversation(self) -> list[Any]:
        """The items of the conversation, with the answer's."""
        return [*self.items, *self.body["output"]]


@dataclass(frozen=True, slots=True)
class KeptResponses:
    """One tenant's kept answers."""

    kept: KeptConversations
    tenant: str

    async def put(self, body: Mapping[str, Any], items: list[Any]) -> bool:
        """Keep an answer; say whether it is kept: what is too large is not."""
        text = json.dumps([body, items])
        large = len(text) > _LARGE_CHARS
        packed = await _PACK_THREADS.run(self.tenant, _packed, text) if large else _packed(text)
        if not await self.kept.put(self.tenant, self._key(body["id"]), packed):
            return False
        named = (item.get("id") for item in body["output"] if isinstance(item, dict))
        others = [each for each in named if isinstance(each, str) and not _OUR_ITEM.match(each)]
        for each in others:
            await self.kept.put(self.tenant, self._key(each), body["id"])
        return True

    async def get(self, id_: str) -> KeptResponse | None:
        """Return a kept answer, None where there is none of this id."""
        (found,) = await self._got([id_])
        return found

    async def drop(self, id_: str) -> bool:
        """Drop a kept answer; False where Redis is away, and has it for now."""
        return await self.kept.drop(self.tenant, self._key(id_))

    async def recall(self, asked: ResponsesRequest) -> None:
        """Put what a request says by ids in its place; what is not kept stays, as `missing`.

        Raises:
            InvalidParameterError: an item that is kept cannot be read.
        """
        if asked.previous is not None:
            before = await self.get(asked.previous)
            if before is None:
                asked.missing = "previous_response_id"
            else:
                asked.items = [*before.conversation, *asked.items]
        found = await self._items(_references(asked.items))
        whole = []
        for number, item in enumerate(asked.items):
            named = item.get("id") if _is_reference(item) else None
            if _is_reference(item) and named not in found:
                asked.missing = asked.missing or f"input[{number}].id"
            whole.append(found.get(named, item) if isinstance(named, str) else item)
        asked.items = whole
        asked.read_items()

    async def _items(self, ids: list[str]) -> dict[str, Any]:
        """Return the items of the output of kept answers by their ids."""
        others = [each for each in ids if not _OUR_ITEM.match(each)]
        told = await self.kept.get(self.tenant, [self._key(each) for each in others])
        ours = (_OUR_ITEM.match(each) for each in ids)
        responses = {response_id(match[1]) for match in ours if match} | {*filter(None, told)}
        kept = await self._got(sorted(responses))
        items = [item for each in kept if each is not None for item in each.body["output"]]
        return {item["id"]: item for item in items if isinstance(item, dict) and "id" in item}

    async def _got(self, ids: list[str]) -> list[KeptResponse | None]:
        if not ids:
            return []
        texts = await self.kept.get(self.tenant, [self._key(each) for each in ids])
        return [None if text is None else _unpacked(text) for text in texts]

    def _key(self, id_: str) -> str:
        return self.kept.key_of(json.dumps([self.tenant, id_]))


def refuse_missing(asked: ResponsesRequest) -> None:
    """Refuse a request that refers to what is not kept.

    Raises:
        InvalidParameterError: it does.
    """
    if asked.missing is not None:
        raise wrong(
            asked.missing,
            "nothing of this id is kept: it was not stored, or 24 hours are over",
            "previous_response_not_found" if asked.missing == "previous_response_id" else None,
        )


def _is_reference(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == REFERENCE


def _references(items: Iterable[Any]) -> list[str]:
    named = [item.get("id") for item in items if _is_reference(item)]
    return [each for each in named if isinstance(each, str)]


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(), 1)).decode()


def _unpacked(text: str) -> KeptResponse | None:
    try:
        body, items = json.loads(zlib.decompress(base64.b64decode(text)))
    except (ValueError, zlib.error):  # a pointer's id, asked for as if it were an answer
        return None
    return KeptResponse(body, items)
