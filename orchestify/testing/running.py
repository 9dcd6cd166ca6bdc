"""A stub server in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from orchestify.testing.server import StubServer

Started: TypeAlias = "Future[Callable[[], object]]"


@contextmanager
def run_in_thread(server: StubServer) -> Iterator[StubServer]:
    """Run `server` in a thread until the block is left.

    Raises: OSError where its port is taken.
    """
    started: Started = Future()
    thread = Thread(
        target=lambda: asyncio.run(_run(server, started)), name="orchestify-stub", daemon=True
    )
    thread.start()
    stop = started.result()
    try:
        yield server
    finally:
        stop()
        thread.join()


async def _run(server: StubServer, started: Started) -> None:
    """Serve until the function that `started` gives is called."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    try:
        await server.start()
    except OSError as error:
        started.set_exception(error)
    else:
        started.set_result(lambda: loop.call_soon_threadsafe(stopped.set))
        await stopped.wait()
    finally:
        await server.close()
