"""The thread that delivers events to their handlers, so that no handler delays a call."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeAlias

logger = logging.getLogger("orchestify.events")

MAX_TASKS = 100  # calls of one coroutine handler that run at once
EXIT_S = 1.0  # what the interpreter's exit waits for handlers, at most


class Subscription:
    """A handler, the event types it wants (none: all), and the loop of a coroutine function."""

    def __init__(
        self,
        handler: Callable[[Any], object],
        types: tuple[type, ...],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.dropped = 0  # events that came while `MAX_TASKS` calls ran
        self._handler = handler
        self._types = types
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_ended = False
        self._has_failed = False

    def end(self) -> None:
        """Deliver nothing more, not even what waits already."""
        self._has_ended = True

    def deliver(self, event: object) -> None:
        """Call the handler if it wants the event; what it raises is logged once."""
        if self._has_ended or (self._types and not isinstance(event, self._types)):
            return
        try:
            if self._loop is None:
                self._handler(event)
            else:
                self._loop.call_soon_threadsafe(self._begin, event)
        except (Exception, SystemExit) as error:
            self._tell(error)

    def _begin(self, event: object) -> None:
        if len(self._tasks) >= MAX_TASKS:
            self.dropped += 1
            return
        task = asyncio.create_task(self._run(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, event: object) -> None:
        try:
            await self._handler(event)  # type: ignore[misc]
        except Exception as error:
            self._tell(error)

    def _tell(self, error: BaseException) -> None:
        """Log the error's class; its message is the host's and may hold anything."""
        if self._has_failed:
            return
        self._has_failed = True
        name = getattr(self._handler, "__qualname__", type(self._handler).__name__)
        logger.error("event handler %s failed: %s; told once", name, type(error).__name__)
        logger.debug("%s", "".join(traceback.format_tb(error.__traceback__)))


Item: TypeAlias = tuple[object, tuple[Subscription, ...]] | None


class EventThread:
    """Delivers events one after another, each to the subscriptions that stood when it came."""

    def __init__(self) -> None:
        # Not queue.Queue: only this one may be put to from a __del__ that interrupts a put.
        self._queue: SimpleQueue[Item] = SimpleQueue()
        self._thread = threading.Thread(
            target=_deliver_all, args=(self._queue,), name="orchestify-events", daemon=True
        )

    def start(self) -> None:
        """Start delivering, unless the interpreter is going down; its exit waits for the end."""
        with suppress(RuntimeError):
            self._thread.start()
            weakref.finalize(self._thread, _finish, self._queue, weakref.ref(self._thread))

    def waiting(self) -> int:
        """How many events wait."""
        return self._queue.qsize()

    def put(self, event: object, subscriptions: tuple[Subscription, ...]) -> None:
        """Hand over an event; never waits."""
        self._queue.put((event, subscriptions))

    def stop(self) -> None:
        """Let the thread end when it has delivered what waits."""
        self._queue.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end, unless it is the one that asks or never began."""
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join(timeout_s)


def _deliver_all(queue: SimpleQueue[Item]) -> None:
    while _deliver(queue.get()):  # no local variable, or the last handlers would live on
        pass


def _deliver(item: Item) -> bool:
    if item is None:
        return False
    event, subscriptions = item
    for subscription in subscriptions:
        subscription.deliver(event)
    return True


def _finish(queue: SimpleQueue[Item], thread: weakref.ref[threading.Thread]) -> None:
    running = thread()
    if running is not None:
        queue.put(None)
        running.join(EXIT_S)
