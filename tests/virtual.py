"""An event loop whose time passes only while everybody waits, and then at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


THREADS_S = 10.0


class _Selector(selectors.SelectSelector):
    """Never waits for a timer; moves the loop's clock instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, and let the time pass that nobody needs.

        Where only a thread can go on, it has a while of real time for that.
        """
        ready = super().select(THREADS_S if timeout is None else 0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits for something that never comes")
        self.now += 0.0 if ready else timeout or 0.0
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop at second 0 of its own time."""

    def __init__(self) -> None:
        self._moments = _Selector()
        super().__init__(self._moments)

    def time(self) -> float:
        """The moment, in seconds."""
        return self._moments.now

    async def shutdown_default_executor(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - as asyncio calls it
    ) -> None:
        """Wait for the executor's threads, whose time is real: no timer of ours ends that."""
        await super().shutdown_default_executor()


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test that waits for timers and its own tasks alone in a loop of virtual time."""

    @wraps(test)
    def passed(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return passed


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do something in a loop of virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
