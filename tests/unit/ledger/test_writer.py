from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Sequence

import pytest

from orchestify.errors import LedgerError
from orchestify.ledger.record import Record
from orchestify.ledger.sql.writer import Writer
from tests.ledgers import answered, opened, until


class ListBooks:
    """Books in lists; fails while `problem` is set, waits while `gate` is shut."""

    def __init__(self) -> None:
        self.opens: list[str] = []
        self.done: list[str] = []
        self.groups: list[int] = []
        self.problem = ""
        self.gate = threading.Event()
        self.gate.set()
        self.is_closed = False
        self.upkeep_at = time.monotonic() + 60

    def book(self, opens: Sequence[Record], done: Sequence[Record]) -> None:
        self.gate.wait(10)
        if self.problem:
            raise LedgerError(self.problem)
        self.opens += [record.id for record in opens]
        self.done += [record.id for record in done]
        self.groups.append(len(opens) + len(done))

    def upkeep(self) -> None:
        self.upkeep_at = time.monotonic() + 60

    def close(self) -> None:
        self.is_closed = True


class BrokenBooks(ListBooks):
    def book(self, opens: Sequence[Record], done: Sequence[Record]) -> None:
        raise ZeroDivisionError


class PickyBooks(ListBooks):
    """Raises what is no LedgerError for every group with a record named `bad`."""

    def book(self, opens: Sequence[Record], done: Sequence[Record]) -> None:
        if "bad" in [record.id for record in (*opens, *done)]:
            raise TypeError("no database takes this")
        super().book(opens, done)


class FailingChore:
    """Is always due, and always raises what ends a thread."""

    due_at = 0.0

    def __init__(self) -> None:
        self.runs = 0

    def run(self) -> None:
        self.runs += 1
        raise SystemExit

    def close(self) -> None:
        raise SystemExit


class DeadlyWriter(Writer):
    """A writer whose thread ends at once, the first time it is begun."""

    deaths = 0

    def _run(self) -> None:
        if not self.deaths:
            self.deaths = 1
            return
        super()._run()


@pytest.fixture
def books() -> ListBooks:
    return ListBooks()


async def test_what_comes_while_it_books_is_booked_as_one_group(books: ListBooks) -> None:
    writer = Writer(books)
    writer.start()
    books.gate.clear()
    first = asyncio.create_task(writer.open(opened(id="a")))
    await asyncio.sleep(0.05)
    rest = [asyncio.create_task(writer.open(opened(id=each))) for each in "bcd"]
    await asyncio.sleep(0.05)
    books.gate.set()
    await asyncio.gather(first, *rest)
    writer.close()
    assert books.opens == ["a", "b", "c", "d"]
    assert books.groups == [1, 3]


async def test_a_completion_shares_the_transaction_of_the_next_opening(books: ListBooks) -> None:
    writer = Writer(books, linger_s=60)
    writer.start()
    writer.complete(answered(opened(id="a")))
    await writer.open(opened(id="b"))
    writer.close()
    assert books.groups == [2]


async def test_what_is_completed_between_quick_openings_is_booked_together(
    books: ListBooks,
) -> None:
    writer = Writer(books, linger_s=60)
    writer.start()
    for each in "abcd":
        await writer.open(opened(id=each))
        writer.complete(answered(opened(id=each)))
    await writer.flush()
    writer.close()
    assert books.groups == [1, 2, 1, 1, 3]
    assert books.done == ["a", "b", "c", "d"]


async def test_it_is_booked_in_time_although_openings_go_on(books: ListBooks) -> None:
    writer = Writer(books, linger_s=0.02)
    writer.start()

    async def work() -> None:
        while "b" not in books.done:
            await writer.open(opened())

    for each in "ab":
        writer.complete(answered(opened(id=each)))
        await writer.open(opened())
    await asyncio.wait_for(work(), 10)
    writer.close()


async def test_a_completion_is_booked_where_no_opening_follows(books: ListBooks) -> None:
    writer = Writer(books)
    writer.start()
    writer.complete(answered(opened(id="a")))
    await until(lambda: books.done == ["a"])
    writer.close()


async def test_a_chore_ends_a_completions_wait(books: ListBooks) -> None:
    writer = Writer(books, linger_s=60)
    writer.start()
    writer.complete(answered(opened(id="a")))
    writer.wake()
    await until(lambda: books.done == ["a"])
    writer.close()


async def test_who_opens_hears_of_the_failure(books: ListBooks) -> None:
    books.problem = "the disk is full"
    writer = Writer(books)
    writer.start()
    with pytest.raises(LedgerError, match="the disk is full"):
        await writer.open(opened())
    writer.close()


async def test_completions_are_kept_until_they_can_be_written(books: ListBooks) -> None:
    writer = Writer(books)
    writer.start()
    books.problem = "the disk is full"
    writer.complete(answered(opened(id="a")))
    with pytest.raises(LedgerError, match="the disk is full"):
        await writer.flush()
    books.problem = ""
    await writer.flush()
    assert writer.close() == 0
    assert books.done == ["a"]


async def test_closing_says_how_many_could_not_be_written(books: ListBooks) -> None:
    books.problem = "the disk is full"
    writer = Writer(books)
    writer.start()
    writer.complete(answered(opened()))
    assert writer.close() == 1


def test_without_its_thread_the_caller_books(books: ListBooks) -> None:
    writer = Writer(books)
    writer.start()
    writer.close()
    writer.complete(answered(opened(id="a")))
    assert books.done == ["a"]
    assert books.is_closed


def test_a_waiting_task_whose_loop_has_closed_is_no_error(books: ListBooks) -> None:
    writer = Writer(books)
    writer.start()
    books.gate.clear()
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(writer.open(opened(id="a")), 0.05))
    books.gate.set()
    writer.close()
    assert books.opens == ["a"]


def test_the_garbage_collector_may_complete_calls(books: ListBooks) -> None:
    writer = Writer(books)
    writer.start()

    class Stream:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            writer.complete(answered(opened(id="a")))

    Stream()
    gc.collect()
    writer.close()
    assert books.done == ["a"]


async def test_who_opens_a_record_that_cannot_be_booked_hears_of_it() -> None:
    writer = Writer(BrokenBooks())
    writer.start()
    with pytest.raises(LedgerError, match="the ledger's writer has failed"):
        await writer.open(opened())
    writer.close()


async def test_a_record_that_cannot_be_booked_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    books = PickyBooks()
    writer = Writer(books, linger_s=60)
    writer.start()
    for each in ("a", "bad", "b"):
        writer.complete(answered(opened(id=each)))
    await writer.open(opened(id="c"))
    with pytest.raises(LedgerError, match="the ledger's writer has failed"):
        await writer.open(opened(id="bad"))
    await writer.open(opened(id="d"))
    assert (books.opens, books.done, writer.dropped) == (["c", "d"], ["a", "b"], 1)
    assert "a record cannot be booked: TypeError" in caplog.text
    assert writer.close() == 0


async def test_a_chore_that_raises_stops_neither_the_thread_nor_the_closing(
    books: ListBooks,
) -> None:
    writer, chore = Writer(books), FailingChore()
    writer.chores.append(chore)
    writer.start()
    for each in "abc":
        await writer.open(opened(id=each))
    assert writer.close() == 0
    assert books.opens == ["a", "b", "c"]
    assert books.is_closed
    assert chore.runs == 1  # left alone for a second


async def test_an_upkeep_that_raises_does_not_end_the_thread(books: ListBooks) -> None:
    class Neglected(ListBooks):
        def upkeep(self) -> None:
            raise ZeroDivisionError

    books = Neglected()
    books.upkeep_at = 0.0
    writer = Writer(books)
    writer.start()
    await writer.flush()
    await writer.open(opened(id="a"))
    assert books.opens == ["a"]
    writer.close()


async def test_a_thread_that_died_is_told_of_and_begun_anew(
    books: ListBooks, caplog: pytest.LogCaptureFixture
) -> None:
    writer = DeadlyWriter(books)
    writer.start()
    await until(lambda: writer.has_died)
    await writer.open(opened(id="a"))
    assert not writer.has_died
    assert books.opens == ["a"]
    assert "the ledger's writer thread has died; another one takes its place" in caplog.text
    writer.close()


def test_a_thread_that_died_is_begun_anew_to_close(books: ListBooks) -> None:
    writer = DeadlyWriter(books)
    writer.start()
    writer.complete(answered(opened(id="a")))
    assert writer.close() == 0
    assert books.done == ["a"]
