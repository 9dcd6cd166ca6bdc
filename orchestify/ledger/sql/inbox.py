"""What is put in for the writer's thread, and when that wakes it."""

from __future__ import annotations

import contextlib
import queue
from collections import deque
from typing import Generic, Literal, TypeAlias, TypeVar

T = TypeVar("T")

WokenBy: TypeAlias = Literal["nothing", "urgent", "anything"]


class Inbox(Generic[T]):
    """Items for one thread, in the order in which any other put them in.

    To wake a thread costs both threads more than to book a record: what is not urgent wakes it
    only where it waits for anything. `put` takes no lock (`SimpleQueue.put` may be called from
    `__del__`, a lock might be held by the very thread that the garbage collector interrupts).
    """

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._woken_by: WokenBy = "nothing"

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T, *, is_urgent: bool) -> None:
        """Put in an item; returns at once."""
        self._items.append(item)
        # the item stands before this is read, as `wait` says what wakes it before it looks
        if self._woken_by == "anything" or (is_urgent and self._woken_by == "urgent"):
            self._woken_by = "nothing"
            self._bell.put(None)

    def pop(self) -> T:
        """Take the first item out; there must be one."""
        return self._items.popleft()

    def wait(self, timeout_s: float, woken_by: WokenBy) -> None:
        """Return at once where there are items, else when one wakes it, or after `timeout_s`.

        It may return before, with nothing there.
        """
        self._woken_by = woken_by
        if not self._items:
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=timeout_s)
        self._woken_by = "nothing"
