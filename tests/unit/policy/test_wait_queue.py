from __future__ import annotations

import asyncio

from orchestify.policy.wait_queue import Waiter, WaitQueue
from tests.clock import ManualClock, idle


async def test_the_smallest_key_is_the_head() -> None:
    queue = WaitQueue()
    late, low, first = Waiter((1, 3)), Waiter((2, 1)), Waiter((1, 2))
    for waiter in (late, low, first):
        queue.join(waiter)
    assert queue.head() is first
    queue.leave(first)
    assert queue.head() is late
    queue.leave(late)
    assert queue.head() is low
    queue.leave(low)
    assert queue.head() is None


async def test_leaving_wakes_the_new_head() -> None:
    queue, clock = WaitQueue(), ManualClock()
    first, second = Waiter((0, 1)), Waiter((0, 2))
    queue.join(first)
    queue.join(second)
    parked = asyncio.create_task(second.park(None, clock.call_later))
    await idle()
    assert not parked.done()
    queue.leave(first)
    await idle()
    assert parked.done()


async def test_a_park_ends_when_its_time_has_passed() -> None:
    clock = ManualClock()
    parked = asyncio.create_task(Waiter((0, 1)).park(5.0, clock.call_later))
    await clock.run(4.9)
    assert not parked.done()
    await clock.run(0.1)
    assert parked.done()


async def test_those_who_left_from_the_middle_take_no_room() -> None:
    queue = WaitQueue()
    first = Waiter((0, 0))
    queue.join(first)
    for ticket in range(1, 1000):
        waiter = Waiter((0, ticket))
        queue.join(waiter)
        queue.leave(waiter)
    assert len(queue) == 1
    assert len(queue._heap) < 100


def test_a_waiter_whose_loop_was_closed_is_passed_over() -> None:
    queue = WaitQueue()

    async def join(ticket: int) -> None:
        queue.join(Waiter((0, ticket)))

    asyncio.run(join(1))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(join(2))
    queue.wake_head()
    head = queue.head()
    assert head is not None
    assert head.key == (0, 2)
    loop.close()
    assert queue.head() is None
