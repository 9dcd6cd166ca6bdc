"""What an assistant's turn holds, in the order in which the model said it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from orchestify.values import LLMMessage, Part, TextPart, ToolCall

Block: TypeAlias = Mapping[str, Any]


def in_order(
    message: LLMMessage, is_own: Callable[[Block], bool]
) -> Iterator[Block | Part | ToolCall]:
    """Yield an assistant's blocks, texts and calls, the blocks that are not `is_own` left out.

    Where the order is not told, or text or calls are not those that came, the blocks are first.
    """
    blocks = () if message.thinking is None else message.thinking.blocks
    marks = [block for block in blocks if _is_mark(block)]
    texts = "".join(str(mark.get("text", "")) for mark in marks)
    calls = [mark.get("id") for mark in marks if mark["type"] == "tool_use"]
    if (
        not marks
        or calls != [call.id for call in message.tool_calls]
        or texts.strip() != message.text.strip()
    ):
        yield from filter(is_own, blocks)
        yield from _parts(message)
        yield from message.tool_calls
        return
    coming = iter(message.tool_calls)
    for block in blocks:
        if is_own(block):
            yield block
        elif _is_mark(block) and block["type"] == "tool_use":
            yield next(coming)
        elif _is_mark(block) and block["text"].strip():
            yield TextPart(block["text"])


def told(said: Iterable[tuple[int, Block]]) -> tuple[Block, ...]:
    """Return the blocks of an answer that are to be sent back.

    `said` has all that the answer holds, in order, with its place in the usual order: 0 for blocks
    of the provider's own, 1 for marks of texts, 2 for marks of calls. The marks are kept only where
    the order is not the usual one.
    """
    listed: Sequence[tuple[int, Block]] = list(said)
    ranks = [rank for rank, _ in listed]
    is_usual = ranks == sorted(ranks)
    return tuple(block for rank, block in listed if rank == 0 or not is_usual)


def _parts(message: LLMMessage) -> Iterator[Part]:
    if not isinstance(message.content, str):
        yield from message.content
    elif message.content:
        yield TextPart(message.content)


def _is_mark(block: Block) -> bool:
    return block.get("type") in ("text", "tool_use")
