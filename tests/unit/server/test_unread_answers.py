"""What waits for clients that do not read: counted by tenant, and bounded."""

from __future__ import annotations

from orchestify.server.connections import UnreadAnswers
from tests.clock import ManualClock


class Clients:
    """Connections with unread answers, and those that were dropped, in order."""

    def __init__(self, held_bytes: int = 0) -> None:
        self.clock = ManualClock()
        self.unread = UnreadAnswers(100, 250, self.clock, held_bytes)
        self.dropped: list[str] = []

    def wait(self, name: str, size: int, tenant: str = "acme") -> float:
        return self.unread.update(name, tenant, size, lambda: self.dropped.append(name))


def test_the_longest_stalled_of_a_tenant_is_dropped_first() -> None:
    clients = Clients()
    clients.wait("first", 60)
    clients.clock.advance(1)
    clients.wait("second", 60)
    assert clients.dropped == ["first"]


def test_a_client_that_has_just_begun_to_wait_is_not_dropped() -> None:
    clients = Clients()
    clients.wait("large", 1_000)
    clients.clock.advance(0.9)
    clients.wait("large", 1_000)
    assert clients.dropped == []
    clients.clock.advance(0.1)
    clients.wait("large", 1_000)
    assert clients.dropped == ["large"]


def test_a_client_that_takes_bytes_is_not_dropped() -> None:
    clients = Clients()
    for size in (1_000, 990, 980, 970):
        clients.wait("slow", size)
        clients.clock.advance(1)
    assert clients.dropped == []


def test_tenants_that_fit_are_dropped_where_all_do_not() -> None:
    clients = Clients()
    for name in ("a", "b", "c"):
        clients.wait(name, 90, tenant=name)
        clients.clock.advance(1)
    clients.wait("c", 90, tenant="c")
    assert clients.dropped == ["a"]


def test_what_a_waiting_stream_holds_counts_among_what_all_hold() -> None:
    clients = Clients(held_bytes=40)
    for name in ("a", "b", "c"):
        clients.wait(name, 50, tenant=name)
        clients.clock.advance(1)
    clients.wait("c", 50, tenant="c")
    assert clients.dropped == ["a"]


def test_who_reads_again_no_longer_counts() -> None:
    clients = Clients()
    clients.wait("first", 60)
    clients.unread.release("first")
    clients.clock.advance(5)
    clients.wait("second", 60)
    assert clients.dropped == []


def test_it_says_for_how_long_no_byte_was_taken() -> None:
    clients = Clients()
    clients.wait("one", 60)
    clients.clock.advance(7)
    assert clients.wait("one", 60) == 7
    assert clients.wait("one", 59) == 0
