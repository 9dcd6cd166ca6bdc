"""Threads for blocking work, a few for each owner: one owner's wait delays no other."""

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
    """Runs blocking work in threads, for each owner at most `at_once` pieces at a time.

    More work of an owner waits behind that owner's alone, in the order it came. A thread ends
    when its owner has no more work; none delays the process's end.
    """

    def __init__(self, at_once: int, name: str) -> None:
        self._at_once = at_once
        self._name = name
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[_Job]] = {}
        self._threads: dict[str, int] = {}

    async def run(
        self, owner: str, work: Callable[P, T], /, *arguments: P.args, **named: P.kwargs
    ) -> T:
        """Run `work` for an owner and return what it returns, or raise what it raises.

        A cancelled caller takes back work that has not begun.
        """
        done: Future[T] = Future()
        with self._lock:
            self._waiting.setdefault(owner, deque()).append(
                (done, partial(work, *arguments, **named))
            )
            is_short = self._threads.get(owner, 0) < self._at_once
            if is_short:
                self._threads[owner] = self._threads.get(owner, 0) + 1
        if is_short:
            threading.Thread(
                target=self._serve, args=(owner,), name=f"orchestify-{self._name}", daemon=True
            ).start()
        return await asyncio.wrap_future(done)

    def _serve(self, owner: str) -> None:
        while (job := self._next(owner)) is not None:
            done, work = job
            if not done.set_running_or_notify_cancel():
                continue
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)
            del job, done, work  # while it waits for the next it holds nothing of this one

    def _next(self, owner: str) -> _Job | None:
        """Return the work to be done next; None where there is none, and the thread ends."""
        with self._lock:
            waiting = self._waiting.get(owner)
            if waiting:
                return waiting.popleft()
            self._threads[owner] -= 1
            if not self._threads[owner]:
                del self._threads[owner]
                self._waiting.pop(owner, None)
            return None
