"""aiohttp's sessions: one for each event loop, none of them left open."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from asyncio import AbstractEventLoop
from collections.abc import AsyncGenerator, Callable
from typing import TypeAlias

import aiohttp

_Kept: TypeAlias = dict[AbstractEventLoop, aiohttp.ClientSession]
_Keeper: TypeAlias = AsyncGenerator[None, None]

# Held until they are closed: aiohttp complains of sessions, asyncio of tasks that are collected.
_KEEPERS: dict[aiohttp.ClientSession, _Keeper] = {}
_CLOSING: set[asyncio.Task[None]] = set()


class Sessions:
    """The open sessions of one lane, by event loop.

    Nobody has to close them. Each has a keeper, an async generator that waits inside the loop;
    a loop that ends closes its async generators (PEP 525; `asyncio.run` does it), and the
    keeper its session. When the lane itself is dropped, or the interpreter exits, what is still
    open is closed from outside.
    """

    def __init__(self, open_session: Callable[[], aiohttp.ClientSession]) -> None:
        self._open_session = open_session
        self._kept: _Kept = {}
        weakref.finalize(self, _close_all, self._kept)

    @property
    def current(self) -> aiohttp.ClientSession | None:
        """The running loop's session, None where none is open."""
        session = self._kept.get(asyncio.get_running_loop())
        return None if session is None or session.closed else session

    async def open(self) -> aiohttp.ClientSession:
        """Open a session for the running loop and return it."""
        loop = asyncio.get_running_loop()
        for other in [other for other in list(self._kept) if other.is_closed()]:
            _close_behind(self._kept.pop(other))
        session = self._open_session()
        keeper = _keep(session, self._kept, loop)
        self._kept[loop] = session
        _KEEPERS[session] = keeper
        await anext(keeper)
        return session

    async def aclose(self) -> None:
        """Close the running loop's session at once, and those of other loops in their own time."""
        session = self._kept.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await _close(session)
        _close_all(self._kept)


async def _keep(session: aiohttp.ClientSession, kept: _Kept, loop: AbstractEventLoop) -> _Keeper:
    try:
        yield
    finally:
        if kept.get(loop) is session:
            del kept[loop]
        try:
            await session.close()
        finally:
            _KEEPERS.pop(session, None)


async def _close(session: aiohttp.ClientSession) -> None:
    keeper = _KEEPERS.get(session)
    if keeper is not None:
        with contextlib.suppress(RuntimeError):  # the loop is closing it already
            await keeper.aclose()


def _close_all(kept: _Kept) -> None:
    for loop, session in list(kept.items()):
        kept.pop(loop, None)
        if loop.is_closed():
            _close_behind(session)
        elif loop.is_running() or _a_loop_runs_here():
            loop.call_soon_threadsafe(_close_in, loop, session)
        else:
            loop.run_until_complete(_close(session))


def _close_in(loop: AbstractEventLoop, session: aiohttp.ClientSession) -> None:
    task = loop.create_task(_close(session))
    _CLOSING.add(task)
    task.add_done_callback(_CLOSING.discard)


def _close_behind(session: aiohttp.ClientSession) -> None:
    """Close a session whose loop is closed: nothing waits in it any more."""
    closing = _close(session)
    with contextlib.suppress(StopIteration):
        while closing.send(None) is None:
            pass
    closing.close()


def _a_loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
