"""The synchronous face: scripts, notebooks with a running loop, threads, and the end of it all."""

from __future__ import annotations

import inspect
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from orchestify.errors import AuthenticationError, OrchestifyError, StreamInterruptedError
from orchestify.ledger.record import scope
from orchestify.providers.base import LLMProvider
from orchestify.values import LLMResponse, StreamEnd, TextDelta
from tests.calls import HANG, Bench, Scripted, answer


def test_complete_sync_returns_the_answer() -> None:
    assert Bench().route(Scripted("one", "there")).complete_sync("hi").content == "there"


def test_complete_sync_raises_what_complete_raises() -> None:
    error = AuthenticationError()
    with pytest.raises(AuthenticationError) as caught:
        Bench().route(Scripted("one", error)).complete_sync("hi")
    assert caught.value is error


def test_its_signature_and_name_are_those_of_complete() -> None:
    signature = inspect.signature(LLMProvider.complete)
    assert inspect.signature(LLMProvider.complete_sync) == signature
    assert LLMProvider.complete_sync.__qualname__ == "LLMProvider.complete_sync"
    assert LLMProvider.stream_sync.__name__ == "stream_sync"


def test_stream_sync_is_a_plain_loop() -> None:
    stream = Bench().route(Scripted("one", "a b")).stream_sync("hi")
    assert list(stream) == ["a", "b"]
    assert stream.response.content == "a b"


def test_stream_sync_has_events() -> None:
    stream = Bench().route(Scripted("one", "a")).stream_sync("hi")
    events = list(stream.events())
    assert events[0] == TextDelta("a")
    assert isinstance(events[1], StreamEnd)


def test_stream_sync_raises_in_the_middle() -> None:
    stream = (
        Bench().route(Scripted("one", [TextDelta("a"), StreamInterruptedError()])).stream_sync("hi")
    )
    texts = iter(stream)
    assert next(texts) == "a"
    with pytest.raises(StreamInterruptedError):
        next(texts)


def test_leaving_the_with_stops_the_provider() -> None:
    bench, one = Bench(), Scripted("one", "a b c")
    with bench.route(one).stream_sync("hi") as stream:
        assert next(iter(stream)) == "a"
    assert one.closed_streams == 1
    assert bench.ledger.outcomes == [("one", "cancelled", "")]


def test_dropping_the_stream_books_it() -> None:
    bench = Bench()
    for _ in bench.route(Scripted("one", "a b c")).stream_sync("hi"):
        break
    assert bench.ledger.outcomes == [("one", "cancelled", "")]


def test_another_thread_may_close_the_stream() -> None:
    one = Scripted("one", [TextDelta("a"), HANG])
    stream = Bench().route(one).stream_sync("hi")
    timer = threading.Timer(0.05, stream.close)
    timer.start()
    assert list(stream) == ["a"]
    timer.join()


def test_it_works_under_a_running_loop_and_says_once_what_it_holds_up() -> None:
    code = (
        "import asyncio\n"
        "from orchestify import MockProvider\n"
        "async def main():\n"
        "    provider = MockProvider(answers=['there'])\n"
        "    print(provider.complete_sync('hi').content, provider.complete_sync('hi').content)\n"
        "asyncio.run(main())\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert ran.stdout == "there there\n"
    assert ran.stderr == "complete_sync holds up the event loop of its thread; await complete\n"


def test_many_threads_share_it() -> None:
    bench = Bench()
    route = bench.route(Scripted("one", "there"))
    with ThreadPoolExecutor(8) as pool:
        contents = [each.content for each in pool.map(route.complete_sync, ["hi"] * 40)]
    assert contents == ["there"] * 40
    assert route.get_usage().call_count == 40


def test_labels_go_along() -> None:
    bench = Bench()
    with scope(run="r1"):
        bench.route(Scripted()).complete_sync("hi")
        list(bench.route(Scripted()).stream_sync("hi"))
    assert [each.labels for each in bench.ledger.completed] == [{"run": "r1"}, {"run": "r1"}]


def test_labels_of_threads_stay_apart() -> None:
    def labelled(run: str) -> str:
        with scope(run=run):
            route.complete_sync("hi")
        return run

    bench = Bench()
    route = bench.route(Scripted())
    with scope(task="t7"), ThreadPoolExecutor(4) as pool:
        inside = [pool.submit(copy_context().run, labelled, f"r{number}") for number in range(8)]
        ran = [each.result() for each in inside]
    assert sorted(each.labels["run"] for each in bench.ledger.completed) == ran
    assert {each.labels["task"] for each in bench.ledger.completed} == {"t7"}


def test_an_interrupt_cancels_the_call() -> None:
    bench, one = Bench(), Scripted("one", HANG)
    interrupted(lambda: bench.route(one).complete_sync("hi"))
    assert until(lambda: bench.ledger.outcomes == [("one", "cancelled", "")])


def test_an_interrupt_cancels_the_stream() -> None:
    bench, one = Bench(), Scripted("one", [TextDelta("a"), HANG])
    interrupted(lambda: list(bench.route(one).stream_sync("hi")))
    assert until(lambda: bench.ledger.outcomes == [("one", "cancelled", "")])
    assert until(lambda: one.closed_streams == 1)


def test_waiting_on_its_own_loop_is_refused() -> None:
    class Nested(Scripted):
        async def send(self, request: object) -> LLMResponse:
            return inner.complete_sync("hi")

    inner = Bench().route(Scripted())
    with pytest.raises(OrchestifyError, match="await instead"):
        Bench().route(Nested()).complete_sync("hi")


def test_a_seed_style_provider_has_it_too() -> None:
    class Own(LLMProvider):
        provider_type = "own"

        async def complete(self, messages: object, model: str | None = None) -> LLMResponse:  # type: ignore[override]
            return answer("mine")

    assert Own().complete_sync("hi").content == "mine"


FORGETFUL = """
from orchestify.providers import MockProvider, ProviderRegistry

registry = ProviderRegistry()
registry.register("m", MockProvider(answers=["a b c d"]))
provider = registry.get("m")
"""


@pytest.mark.parametrize(
    "script",
    [
        "provider.complete_sync('hi')",
        "kept = iter(provider.stream_sync('hi')); next(kept)",
        "for text in provider.stream_sync('hi'): break",
        """
import asyncio
async def main():
    global kept
    async for text in provider.stream("hi"):
        break
    kept = provider.stream("hi")
    await anext(kept)
    provider.stream("never read")
asyncio.run(main())
asyncio.run(main())
""",
        """
import asyncio
kept = provider.stream("hi")
loop = asyncio.new_event_loop()
loop.run_until_complete(anext(kept))
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
""",
        """
import concurrent.futures, contextlib, threading, time
registry.register("slow", MockProvider("slow", {"options": {"answer": {"delay_s": 60}}}))
def call():
    with contextlib.suppress(concurrent.futures.CancelledError):
        registry.get("slow").complete_sync("hi")
threading.Thread(target=call, daemon=True).start()
time.sleep(0.2)
""",
    ],
    ids=["call", "kept", "broken", "async", "closed_loop", "hanging"],
)
def test_forgetting_to_close_warns_of_nothing_at_the_interpreters_end(script: str) -> None:
    ended = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-X", "dev", "-W", "error", "-c", FORGETFUL + script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def interrupted(call: Callable[[], object]) -> None:
    """Run a call in the main thread and press Ctrl-C while it waits."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.main_thread().ident
    timer = threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)


def until(holds: Callable[[], bool]) -> bool:
    """Wait, two seconds at most, until it holds."""
    end = time.monotonic() + 2
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    return holds()
