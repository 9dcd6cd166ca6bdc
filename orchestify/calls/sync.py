"""The synchronous face: one event loop in a thread of its own, for scripts and notebooks."""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent import futures
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from orchestify.calls.stream import CompletionStream
from orchestify.errors import OrchestifyError
from orchestify.values import LLMResponse

_log = logging.getLogger("orchestify.calls")
_warned: set[str] = set()

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


def synchronous(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], T]:
    """Return a method that calls the asynchronous one of the same object and waits for it."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        own: Callable[P, Coroutine[Any, Any, T]] = getattr(self, method.__name__)
        _warn_of_a_running_loop(method.__name__)
        return run(own(*args, **kwargs))

    return _renamed(call, f"{method.__name__}_sync")


def synchronous_stream(
    method: Callable[Concatenate[S, P], CompletionStream],
) -> Callable[Concatenate[S, P], SyncStream]:
    """Return a method that opens the same stream for a plain `for` loop."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> SyncStream:
        _warn_of_a_running_loop(method.__name__)
        return SyncStream(getattr(self, method.__name__)(*args, **kwargs))

    return _renamed(call, f"{method.__name__}_sync")


def _warn_of_a_running_loop(method: str) -> None:
    """Log, once a method, that a loop runs in this thread and does nothing while the call waits."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if method not in _warned:
        _warned.add(method)
        _log.warning("%s_sync holds up the event loop of its thread; await %s", method, method)


class SyncStream:
    """A `CompletionStream` for plain `for` and `with`; see there."""

    def __init__(self, stream: CompletionStream) -> None:
        self._stream = stream

    @property
    def response(self) -> LLMResponse:
        """The whole answer, after the stream's end."""
        return self._stream.response

    def __iter__(self) -> Iterator[str]:
        return _pull(self._stream)

    def events(self) -> Iterator[Any]:
        """Iterate over typed events; the last is `StreamEnd`."""
        return _pull(self._stream.events())

    def close(self) -> None:
        """Stop the provider and book what was used."""
        run(self._stream.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the thread's loop and wait; an interrupt cancels it there.

    Raises:
        OrchestifyError: called by what runs on that loop itself; it would wait for ever.
    """
    loop = _loop()
    running = _running_loop()
    if running is loop:
        coroutine.close()
        raise OrchestifyError("this runs on the loop that would have to answer; await instead")
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except futures.CancelledError:
        if _is_ending:
            raise SystemExit from None  # ends a thread without a traceback
        raise
    except BaseException:
        future.cancel()
        raise


class _HasName(Protocol):
    __name__: str
    __qualname__: str


F = TypeVar("F", bound=_HasName)


def _renamed(function: F, name: str) -> F:
    function.__qualname__ = function.__qualname__.replace(function.__name__, name)
    function.__name__ = name
    return function


_END = object()


def _pull(source: AsyncIterator[T]) -> Iterator[T]:
    async def pull() -> T | object:
        return await anext(source, _END)

    while (item := run(pull())) is not _END:
        yield item  # type: ignore[misc]  # the sentinel was told apart


_lock = threading.Lock()
_is_ending = False  # the interpreter
_running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None


def _loop() -> asyncio.AbstractEventLoop:
    global _running  # noqa: PLW0603  # one loop for the process, made when first needed
    with _lock:
        if _running is None or not _running[1].is_alive():
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="orchestify-sync", daemon=True)
            thread.start()
            _running = loop, thread
        return _running[0]


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@atexit.register
def _stop() -> None:
    global _is_ending  # noqa: PLW0603  # as above
    _is_ending = True
    if _running is None or not _running[1].is_alive():
        return
    loop, thread = _running
    asyncio.run_coroutine_threadsafe(_drain(), loop)
    thread.join(timeout=2)
    if not thread.is_alive():
        loop.close()


async def _drain() -> None:
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_asyncgens()
    loop.call_soon(loop.stop)
