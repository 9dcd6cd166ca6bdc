"""Turns at the event loop: a few a tenant in each of the loop's passes."""

from __future__ import annotations

import asyncio

from orchestify.server.access.turns import Turns


async def _work(turns: Turns, tenant: str, order: list[str], work: str = "") -> None:
    await turns.take(tenant)
    order.append(work or tenant)


async def test_a_call_alone_has_its_turn_at_once() -> None:
    turns, order = Turns(), list[str]()
    task = asyncio.create_task(_work(turns, "one", order))
    await asyncio.sleep(0)
    assert task.done()


async def test_several_have_their_turns_in_one_pass() -> None:
    turns, order = Turns(at_once=3), list[str]()
    many = [asyncio.create_task(_work(turns, "many", order)) for _ in range(7)]
    await asyncio.sleep(0)
    assert len(order) == 3
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(order) == 6
    await asyncio.gather(*many)


async def test_another_tenant_waits_for_one_call_of_many_at_most() -> None:
    turns, order = Turns(at_once=1), list[str]()
    many = [asyncio.create_task(_work(turns, "many", order)) for _ in range(50)]
    await asyncio.create_task(_work(turns, "one", order))
    assert order == ["many", "one"]
    await asyncio.gather(*many)
    assert order == ["many", "one"] + 49 * ["many"]


async def test_calls_of_a_tenant_have_their_turns_as_they_came() -> None:
    turns, order = Turns(at_once=2), list[str]()
    await asyncio.gather(*(_work(turns, "one", order, work) for work in "abcdef"))
    assert order == ["a", "b", "c", "d", "e", "f"]


async def test_a_call_that_was_cancelled_takes_no_turn() -> None:
    turns, order = Turns(at_once=1), list[str]()
    tasks = [asyncio.create_task(_work(turns, "one", order, work)) for work in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert order == ["a", "c"]


async def test_a_tenant_whose_calls_had_their_turns_has_one_at_once_again() -> None:
    turns, order = Turns(at_once=1), list[str]()
    await asyncio.gather(*(_work(turns, "one", order) for _ in range(5)))
    for _ in range(2):
        await asyncio.sleep(0)
    task = asyncio.create_task(_work(turns, "one", order))
    await asyncio.sleep(0)
    assert task.done()
