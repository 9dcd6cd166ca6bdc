"""Many requests at once: their order, what is under way, errors, and leaving early."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from orchestify.batches.many import BatchResult, map_requests
from orchestify.batches.requests import BatchRequest
from orchestify.errors import InvalidParameterError, ServerError
from orchestify.ledger.record import current_labels, scope
from orchestify.providers.base import LLMProvider
from orchestify.values import LLMResponse
from tests.ledgers import until


class Answerer:
    """Answers each prompt with itself once its gate is open; without a gate, at once."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.keywords: list[dict[str, Any]] = []
        self.labels: list[dict[str, str]] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.under_way = self.most = self.cancelled = 0

    async def complete(self, messages: str, **keywords: Any) -> LLMResponse:
        self.asked.append(messages)
        self.keywords.append(keywords)
        self.labels.append(dict(current_labels()))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.gates.get(messages, _OPEN).wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if messages == "fail":
            raise ServerError("it failed")
        return LLMResponse(messages, "m", 1, 1, "stop")


_OPEN = asyncio.Event()
_OPEN.set()


def numbers(many: int) -> list[str]:
    return [str(number) for number in range(many)]


def texts(results: list[BatchResult]) -> list[str | None]:
    return [result.response.content if result.response else None for result in results]


async def test_results_come_in_the_requests_order() -> None:
    it = Answerer()
    it.gates["0"] = asyncio.Event()
    results = map_requests(it.complete, numbers(5), 2, {}, ordered=True)
    first = asyncio.create_task(anext(results))
    await until(lambda: len(it.asked) == 5 and it.under_way == 1)
    assert not first.done()
    it.gates["0"].set()
    read = [await first, *[result async for result in results]]
    assert texts(read) == numbers(5)
    assert [result.index for result in read] == [0, 1, 2, 3, 4]


async def test_or_as_they_come() -> None:
    it = Answerer()
    it.gates["0"] = asyncio.Event()
    read: list[BatchResult] = []
    async for result in map_requests(it.complete, numbers(4), 2, {}, ordered=False):
        read.append(result)
        if len(read) == 3:
            it.gates["0"].set()
    assert texts(read) == ["1", "2", "3", "0"]
    assert [result.index for result in read] == [1, 2, 3, 0]


async def test_so_many_are_under_way_and_no_more() -> None:
    it = Answerer()
    async for _ in map_requests(it.complete, numbers(50), 7, {}, ordered=False):
        pass
    assert it.most == 7
    assert len(it.asked) == 50


@pytest.mark.parametrize(("ordered", "most"), [(True, 16 * 3 + 1), (False, 3 + 1)])
async def test_requests_are_taken_as_fast_as_results_are_read(ordered: bool, most: int) -> None:
    it, taken = Answerer(), 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield str(taken)

    async with aclosing(map_requests(it.complete, endless(), 3, {}, ordered=ordered)) as results:
        await anext(results)
        for _ in range(500):
            await asyncio.sleep(0)
        assert taken == most


async def test_an_early_one_that_waits_does_not_let_the_rest_pile_up() -> None:
    it, taken = Answerer(), 0
    it.gates["0"] = asyncio.Event()

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            yield str(taken)
            taken += 1

    results = map_requests(it.complete, endless(), 2, {}, ordered=True)
    first = asyncio.create_task(anext(results))
    for _ in range(500):
        await asyncio.sleep(0)
    assert taken == 16 * 2 - 1
    it.gates["0"].set()
    assert (await first).index == 0
    await results.aclose()


async def test_an_error_is_a_result_and_the_others_go_on() -> None:
    it = Answerer()
    requests = ["a", {"prompt": "fail", "custom_id": "f"}, {"prompts": "x", "custom_id": "g"}, "b"]
    results = [each async for each in map_requests(it.complete, requests, 2, {}, ordered=True)]
    assert texts(results) == ["a", None, None, "b"]
    assert [each.custom_id for each in results] == [None, "f", "g", None]
    assert isinstance(results[1].error, ServerError)
    assert isinstance(results[2].error, InvalidParameterError)
    assert str(results[2].error).startswith("it has no messages; ")


async def test_what_is_no_error_of_ours_ends_it_and_cancels_the_rest() -> None:
    it = Answerer()
    it.gates["slow"] = asyncio.Event()

    async def complete(messages: str) -> LLMResponse:
        if messages == "bug":
            raise ZeroDivisionError
        return await it.complete(messages)

    with pytest.raises(ZeroDivisionError):
        async for _ in map_requests(complete, ["slow", "bug"], 2, {}, ordered=False):
            pass
    assert it.cancelled == 1


@pytest.mark.parametrize("is_async", [True, False])
async def test_what_the_requests_raise_comes_after_the_results_before_it(is_async: bool) -> None:
    it = Answerer()

    def two() -> Iterator[str]:
        yield "a"
        yield "b"
        raise ZeroDivisionError

    async def also_two() -> AsyncIterator[str]:
        for each in two():
            yield each

    requests = also_two() if is_async else two()
    results = map_requests(it.complete, requests, 4, {}, ordered=True)
    assert texts([await anext(results), await anext(results)]) == ["a", "b"]
    with pytest.raises(ZeroDivisionError):
        await anext(results)


async def test_an_asynchronous_iterable_is_asked_for_one_at_a_time() -> None:
    it = Answerer()

    async def requests() -> AsyncIterator[str]:
        for number in range(20):
            await asyncio.sleep(0)
            yield str(number)

    results = map_requests(it.complete, requests(), 8, {}, ordered=True)
    assert texts([result async for result in results]) == numbers(20)


async def test_leaving_early_cancels_what_is_under_way() -> None:
    it = Answerer()
    it.gates["1"] = it.gates["2"] = it.gates["3"] = asyncio.Event()
    async with aclosing(map_requests(it.complete, numbers(9), 3, {}, ordered=False)) as results:
        assert (await anext(results)).index == 0
        await until(lambda: it.under_way == 3)
    assert (it.under_way, it.cancelled, it.asked) == (0, 3, numbers(4))


async def test_a_break_alone_does_so_too() -> None:
    it = Answerer()
    it.gates["1"] = asyncio.Event()
    async for _ in map_requests(it.complete, ["0", "1"], 2, {}, ordered=False):
        break
    gc.collect()
    await until(lambda: it.cancelled == 1)
    assert it.under_way == 0


async def test_cancelling_the_reader_cancels_them() -> None:
    it = Answerer()
    it.gates["0"] = it.gates["1"] = asyncio.Event()

    async def read() -> None:
        async for _ in map_requests(it.complete, numbers(2), 2, {}, ordered=True):
            pass

    reading = asyncio.create_task(read())
    await until(lambda: it.under_way == 2)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert it.cancelled == 2


async def test_a_requests_own_words_win_over_those_of_all() -> None:
    it = Answerer()
    requests = ["a", {"prompt": "b", "max_tokens": 5}]
    results = map_requests(it.complete, requests, 1, {"max_tokens": 9, "seed": 1}, ordered=True)
    assert len([each async for each in results]) == 2
    assert it.keywords == [{"max_tokens": 9, "seed": 1}, {"max_tokens": 5, "seed": 1}]


async def test_tools_that_are_read_once_hold_for_all() -> None:
    it = Answerer()
    tools = iter([{"name": "look"}])
    results = map_requests(it.complete, ["a", "b"], 1, {"tools": tools}, ordered=True)
    assert len([each async for each in results]) == 2
    assert it.keywords == [{"tools": ({"name": "look"},)}] * 2


async def test_labels_are_those_of_the_scope_and_of_the_request() -> None:
    it = Answerer()
    requests = ["a", BatchRequest({"messages": "b"}, labels={"task": "t"})]
    with scope(run="r"):
        async for _ in map_requests(it.complete, requests, 1, {}, ordered=True):
            pass
    assert it.labels == [{"run": "r"}, {"run": "r", "task": "t"}]


async def test_the_scope_is_that_in_which_it_was_called() -> None:
    it = Answerer()
    with scope(run="r"):
        results = map_requests(it.complete, ["a", "b"], 1, {}, ordered=True)
    assert len([each async for each in results]) == 2
    assert it.labels == [{"run": "r"}] * 2


async def test_no_requests_give_no_results() -> None:
    assert [each async for each in map_requests(Answerer().complete, [], 3, {}, ordered=True)] == []


@pytest.mark.parametrize("requests", ["Hi", b"Hi", {"prompt": "Hi"}, 5])
def test_one_request_is_not_several(requests: Any) -> None:
    with pytest.raises(InvalidParameterError, match="put a single one into a list"):
        LLMProvider().map(requests)


@pytest.mark.parametrize("concurrency", [0, True, 1.5, "2"])
def test_a_concurrency_that_is_no_number_of_calls_is_refused(concurrency: Any) -> None:
    with pytest.raises(InvalidParameterError, match="concurrency is a whole number of at least 1"):
        LLMProvider().map(["Hi"], concurrency=concurrency)
