from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.events.events import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    Events,
    EventsDropped,
    FallbackTaken,
    ProviderUnavailable,
    SlowCall,
)
from tests.clock import idle

ROOT = Path(__file__).parents[3]
SLOW = SlowCall("main", "m", 12.5)
DOWN = ProviderUnavailable("main", "ServerError")


@pytest.fixture
def events() -> Iterator[Events]:
    events = Events()
    yield events
    events.close()


@pytest.fixture
def silent(events: Events) -> Iterator[Events]:
    logger = logging.getLogger("orchestify.events")
    logger.setLevel(logging.CRITICAL)
    yield events
    logger.setLevel(logging.NOTSET)


def run(script: str) -> str:
    """Run a script in a fresh interpreter; return what it printed, warnings included."""
    command = [sys.executable, "-W", "always", "-W", "ignore:This process:DeprecationWarning"]
    result = subprocess.run(  # noqa: S603 - the interpreter itself, with scripts from here
        [*command, "-c", "from orchestify.events.events import *\n" + script],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return result.stdout + result.stderr


def test_handler_gets_every_event_in_order(events: Events) -> None:
    heard: list[Event] = []
    events.on(heard.append)
    events.emit(SLOW)
    events.emit(DOWN)
    events.close()
    assert heard == [SLOW, DOWN]


def test_handler_gets_only_the_types_it_asked_for(events: Events) -> None:
    heard: list[Event] = []
    events.on(heard.append, CircuitOpened, SlowCall)
    events.emit(DOWN)
    events.emit(SLOW)
    events.close()
    assert heard == [SLOW]


def test_changes_of_a_circuit_become_events(events: Events) -> None:
    heard: list[Event] = []
    events.on(heard.append)
    events.circuit("main", "m", "closed", "open", 30.0)
    events.circuit("main", "m", "open", "half_open")
    events.circuit("main", "m", "half_open", "closed")
    events.close()
    assert heard == [
        CircuitOpened("main", "m", 30.0),
        CircuitHalfOpened("main", "m"),
        CircuitClosed("main", "m"),
    ]


def test_unsubscribed_handler_hears_nothing_more(events: Events) -> None:
    heard: list[Event] = []
    unsubscribe = events.on(heard.append)
    unsubscribe()
    unsubscribe()
    events.emit(SLOW)
    events.close()
    assert heard == []


def test_unsubscribed_handler_misses_what_waits_already(events: Events) -> None:
    gate = threading.Event()
    heard: list[Event] = []
    events.on(lambda _: gate.wait(10))
    unsubscribe = events.on(heard.append)
    events.emit(SLOW)
    unsubscribe()
    gate.set()
    events.close()
    assert heard == []


def test_event_is_one_log_line(events: Events, caplog: pytest.LogCaptureFixture) -> None:
    events.emit(FallbackTaken("planner", "main", "m\nforged line", "spare", "n", "ServerError"))
    events.close()
    assert caplog.record_tuples == [
        (
            "orchestify.events",
            logging.WARNING,
            "fallback_taken agent=planner provider=main model=m forged line "
            "to_provider=spare to_model=n error=ServerError",
        )
    ]


def test_a_tenants_events_name_it_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    events = Events(tenant="acme")
    events.emit(CircuitOpened("main", "m", 30.0))
    events.close()
    assert caplog.messages == ["circuit_opened tenant=acme provider=main model=m open_s=30"]


def test_good_news_is_logged_at_info(events: Events, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    events.emit(CircuitClosed("main", "m"))
    events.close()
    assert caplog.record_tuples == [
        ("orchestify.events", logging.INFO, "circuit_closed provider=main model=m")
    ]


def test_nobody_listening_starts_no_thread(silent: Events) -> None:
    before = event_threads()
    silent.emit(SLOW)
    assert event_threads() <= before


def test_failing_handler_is_logged_once_and_by_class(
    events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []

    def fails(event: Event) -> None:
        raise ValueError("sk-secret")

    events.on(fails, SlowCall)
    events.on(heard.append)
    events.emit(SLOW)
    events.emit(SLOW)
    events.close()
    assert heard == [SLOW, SLOW]
    assert caplog.text.count("fails failed: ValueError; told once") == 1
    assert "sk-secret" not in caplog.text


def test_handler_that_exits_does_not_end_the_thread(events: Events) -> None:
    heard: list[Event] = []
    events.on(lambda _: sys.exit(1))
    events.on(heard.append)
    events.emit(SLOW)
    events.emit(DOWN)
    events.close()
    assert heard == [SLOW, DOWN]


def test_slow_handler_holds_up_no_caller_and_overflow_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = Events(capacity=3)
    begun, gate = threading.Event(), threading.Event()
    heard: list[Event] = []

    def slow(event: Event) -> None:
        begun.set()
        gate.wait(10)
        heard.append(event)

    events.on(slow)
    events.emit(SLOW)
    assert begun.wait(10)
    for _ in range(10):
        events.emit(DOWN)
    assert events.dropped == 7
    gate.set()
    events.close()
    assert heard == [SLOW, DOWN, DOWN, DOWN, EventsDropped(3)]
    assert caplog.text.count("events_dropped capacity=3") == 1


async def test_coroutine_function_runs_on_the_loop_it_came_from(events: Events) -> None:
    here = asyncio.get_running_loop()
    heard: asyncio.Queue[tuple[Event, bool]] = asyncio.Queue()

    async def handler(event: Event) -> None:
        await heard.put((event, asyncio.get_running_loop() is here))

    events.on(handler)
    events.emit(SLOW)
    async with asyncio.timeout(30):
        assert await heard.get() == (SLOW, True)


async def test_failing_coroutine_function_is_logged_by_class(
    events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(event: Event) -> None:
        raise ValueError("sk-secret")

    events.on(fails)
    events.emit(SLOW)
    await asyncio.to_thread(events.close)
    await idle()
    assert "fails failed: ValueError" in caplog.text
    assert "sk-secret" not in caplog.text


async def test_coroutine_function_with_100_calls_running_misses_the_rest(silent: Events) -> None:
    gate = asyncio.Event()
    heard: list[Event] = []

    async def slow(event: Event) -> None:
        await gate.wait()
        heard.append(event)

    silent.on(slow)
    for _ in range(103):
        silent.emit(SLOW)
    await asyncio.to_thread(silent.close)
    await idle()
    gate.set()
    await idle()
    assert len(heard) == 100
    assert silent.dropped == 3


def test_closed_loop_is_one_logged_failure(
    events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(event: Event) -> None:
        raise AssertionError

    async def subscribe() -> None:
        events.on(handler)

    asyncio.run(subscribe())
    events.emit(SLOW)
    events.emit(SLOW)
    events.close()
    assert caplog.text.count("failed: RuntimeError; told once") == 1


def test_coroutine_function_needs_a_running_loop(events: Events) -> None:
    async def handler(event: Event) -> None:
        raise AssertionError

    with pytest.raises(InvalidParameterError, match="no event loop is running"):
        events.on(handler)


def test_events_after_close_are_ignored(events: Events) -> None:
    heard: list[Event] = []
    events.on(heard.append)
    events.close()
    events.emit(SLOW)
    events.close()
    assert heard == []


def test_close_in_a_handler_does_not_wait_for_itself(events: Events) -> None:
    heard: list[Event] = []
    events.on(lambda _: events.close())
    events.on(heard.append)
    before = event_threads()
    events.emit(SLOW)
    assert have_ended(event_threads() - before)
    assert heard == [SLOW]


def test_forgotten_events_end_their_thread(silent: Events) -> None:
    before = event_threads()
    forgotten = Events()
    forgotten.on(lambda _: None)
    forgotten.emit(SLOW)
    (thread,) = event_threads() - before
    del forgotten
    gc.collect()
    assert have_ended({thread})


def test_events_are_still_logged_when_the_interpreter_exits() -> None:
    assert run("Events().emit(SlowCall('p', 'm', 1.0))\n") == (
        "slow_call provider=p model=m latency_s=1\n"
    )


def test_handler_that_hangs_lets_the_interpreter_exit() -> None:
    script = "import time\nevents = Events()\nevents.on(lambda _: time.sleep(60))\n"
    assert run(script + "events.emit(SlowCall('p', 'm', 1.0))\n") == (
        "slow_call provider=p model=m latency_s=1\n"
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_child_tells_its_own_events_once() -> None:
    script = """
import os, time
events = Events()
events.emit(SlowCall("before", "m", 1.0))
time.sleep(0.5)  # a fork in the middle of a write would copy a lock that nobody frees
child = os.fork()
if child:
    os.waitpid(child, 0)
else:
    events.emit(SlowCall("child", "m", 1.0))
"""
    assert sorted(run(script).splitlines()) == [
        "slow_call provider=before model=m latency_s=1",
        "slow_call provider=child model=m latency_s=1",
    ]


def event_threads() -> set[threading.Thread]:
    """The threads of all events in this process, those of earlier tests too."""
    return {each for each in threading.enumerate() if each.name == "orchestify-events"}


def have_ended(threads: set[threading.Thread]) -> bool:
    """Wait for the threads' end, 10 s for each at most; whether they have ended."""
    for thread in threads:
        thread.join(10)
    return not any(thread.is_alive() for thread in threads)
