from __future__ import annotations

import asyncio
import threading

import pytest

from orchestify.resources.thread_pools import ThreadPools


async def test_work_is_done_in_a_thread_and_its_result_or_error_comes_back() -> None:
    crew = ThreadPools(1, "test")
    assert await crew.run("a", threading.current_thread) is not threading.current_thread()
    with pytest.raises(ValueError, match="invalid literal"):
        await crew.run("a", int, "x")


async def test_a_party_waits_for_its_own_work_and_for_nobody_elses() -> None:
    crew, gate, done = ThreadPools(1, "test"), threading.Event(), list[str]()
    first = asyncio.create_task(crew.run("a", gate.wait, 20))
    second = asyncio.create_task(crew.run("a", done.append, "a"))
    await asyncio.sleep(0)
    await crew.run("b", done.append, "b")
    gate.set()
    await asyncio.gather(first, second)
    assert done == ["b", "a"]


async def test_what_has_not_begun_when_its_caller_goes_is_not_done() -> None:
    crew, gate, done = ThreadPools(1, "test"), threading.Event(), list[str]()
    first = asyncio.create_task(crew.run("a", gate.wait, 20))
    second = asyncio.create_task(crew.run("a", done.append, "given up"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait({second})
    gate.set()
    await first
    await crew.run("a", done.append, "next")
    assert done == ["next"]
