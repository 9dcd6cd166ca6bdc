"""Threads for work that blocks, a few for each whom it is done for: one's wait is no other's."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, ParamSpec, TypeAlias, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

_Job: TypeAlias = tuple[Future[Any], Callable[[], Any]]


class ThreadPools:
    """Does blocking work in threads, for each party at most `at_once` pieces at a time.

    What a party asks for beyond that waits behind its own work alone, in the order it was asked
    for. A thread ends when its party has nothing more to do; none holds up the process's end.
    """

    def __init__(self, at_once: int, name: str) -> None:
        self._at_once = at_once
        self._name = name
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[_Job]] = {}
        self._threads: dict[str, int] = {}

    async def run(
        self, party: str, work: Callable[P, T], /, *arguments: P.args, **named: P.kwargs
    ) -> T:
        """Do `work` for a party and return what it returns, or raise what it raises.

        A caller who goes takes back what has not begun.
        """
        done: Future[T] = Future()
        with self._lock:
            self._waiting.setdefault(party, deque()).append(
                (done, partial(work, *arguments, **named))
            )
            is_short = self._threads.get(party, 0) < self._at_once
            if is_short:
                self._threads[party] = self._threads.get(party, 0) + 1
        if is_short:
            threading.Thread(
                target=self._serve, args=(party,), name=f"orchestify-{self._name}", daemon=True
            ).start()
        return await asyncio.wrap_future(done)

    def _serve(self, party: str) -> None:
        while (job := self._next(party)) is not None:
            done, work = job
            if not done.set_running_or_notify_cancel():
                continue
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)
            del job, done, work  # while it waits for the next it holds nothing of this one

    def _next(self, party: str) -> _Job | None:
        """Return the work to be done next; None where there is none, and the thread ends."""
        with self._lock:
            waiting = self._waiting.get(party)
            if waiting:
                return waiting.popleft()
            self._threads[party] -= 1
            if not self._threads[party]:
                del self._threads[party]
                self._waiting.pop(party, None)
            return None
