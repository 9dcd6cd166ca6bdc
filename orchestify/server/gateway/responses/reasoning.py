"""What a model of another protocol thought, as the encrypted content of a reasoning item.

Clients of this protocol send such items back beside their calls, so that nothing need be kept.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from orchestify.values import Thinking

Blocks: TypeAlias = tuple[Mapping[str, Any], ...]

_OURS = "orchestify."
_CHARS_A_CONTAINER = 12  # at least; nobody's blocks are denser, and dense JSON takes memory


def content_of(thinking: Thinking | None) -> str | None:
    """Return the blocks of a thought as a text for the client, None where there are none."""
    if thinking is None or not thinking.blocks:
        return None
    listed = json.dumps([dict(block) for block in thinking.blocks])
    return _OURS + base64.urlsafe_b64encode(listed.encode()).decode()


def is_ours(item: Any) -> bool:
    """Say whether an item is reasoning that was written here, which no provider can read."""
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return False
    return str(item.get("encrypted_content")).startswith(_OURS)


def blocks_in(item: Mapping[str, Any]) -> Blocks:
    """Return the blocks of a reasoning item: those written here, or the item itself.

    One that holds nothing to be sent back has none.
    """
    content = item.get("encrypted_content")
    if not isinstance(content, str) or not content:
        return ()
    if not content.startswith(_OURS):
        return (item,)
    try:
        text = base64.urlsafe_b64decode(content.removeprefix(_OURS))
        is_dense = text.count(b"{") + text.count(b"[") > len(text) // _CHARS_A_CONTAINER
        listed = None if is_dense else json.loads(text)
    except (ValueError, RecursionError, binascii.Error):
        return ()
    if not isinstance(listed, list):
        return ()
    return tuple(each for each in listed if isinstance(each, dict) and _has_type(each))


def _has_type(block: Mapping[str, Any]) -> bool:
    return isinstance(block.get("type"), str)
