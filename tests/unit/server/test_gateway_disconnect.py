"""A client that goes cancels what is done for it, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestify.server.gateway.exchange import CancelOnDisconnect


class Line:
    """A connection as ASGI has it."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def receive(self) -> dict[str, Any]:
        return await self.messages.get()

    def hang_up(self) -> None:
        self.messages.put_nowait({"type": "http.request", "body": b""})
        self.messages.put_nowait({"type": "http.disconnect"})


async def test_a_client_that_goes_ends_the_block_and_the_task_goes_on() -> None:
    line, ended = Line(), []
    line.hang_up()
    async with CancelOnDisconnect(line.receive) as client:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")
    assert client.has_disconnected
    assert ended == ["work"]
    await asyncio.sleep(0)  # no cancellation is left over


async def test_work_that_ends_leaves_nobody_listening() -> None:
    before = asyncio.all_tasks()
    async with CancelOnDisconnect(Line().receive) as client:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not client.has_disconnected
    assert asyncio.all_tasks() == before


async def test_a_failure_passes() -> None:
    with pytest.raises(ValueError, match="failed"):
        async with CancelOnDisconnect(Line().receive):
            raise ValueError("failed")


async def test_a_cancellation_by_others_passes() -> None:
    async def work() -> None:
        async with CancelOnDisconnect(Line().receive):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_by_others_wins_over_the_clients_going() -> None:
    line = Line()

    async def work() -> None:
        async with CancelOnDisconnect(line.receive):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    line.hang_up()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
