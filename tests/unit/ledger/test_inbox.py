from __future__ import annotations

import threading
import time

import pytest

from orchestify.ledger.sql.inbox import Inbox, WokenBy


@pytest.fixture
def inbox() -> Inbox[str]:
    return Inbox()


def waiting(inbox: Inbox[str], woken_by: WokenBy) -> threading.Thread:
    """Return a thread that waits, and has begun to."""
    thread = threading.Thread(target=inbox.wait, args=(10.0, woken_by), daemon=True)
    thread.start()
    while inbox._woken_by != woken_by:
        time.sleep(0.001)
    return thread


def test_items_come_in_the_order_in_which_they_were_put_in(inbox: Inbox[str]) -> None:
    inbox.put("a", is_urgent=False)
    inbox.put("b", is_urgent=True)
    assert (len(inbox), inbox.pop(), inbox.pop(), len(inbox)) == (2, "a", "b", 0)


def test_what_is_there_is_not_waited_for(inbox: Inbox[str]) -> None:
    inbox.put("a", is_urgent=False)
    inbox.wait(3600.0, "urgent")
    assert inbox.pop() == "a"


def test_a_wait_ends(inbox: Inbox[str]) -> None:
    inbox.wait(0.001, "anything")
    assert len(inbox) == 0


@pytest.mark.parametrize(
    ("woken_by", "is_urgent"), [("anything", True), ("anything", False), ("urgent", True)]
)
def test_an_item_wakes_who_waits_for_such(
    inbox: Inbox[str], woken_by: WokenBy, is_urgent: bool
) -> None:
    thread = waiting(inbox, woken_by)
    inbox.put("a", is_urgent=is_urgent)
    thread.join(5)
    assert not thread.is_alive()


def test_what_is_not_urgent_wakes_nobody_who_waits_for_what_is(inbox: Inbox[str]) -> None:
    thread = waiting(inbox, "urgent")
    inbox.put("a", is_urgent=False)
    thread.join(0.05)
    assert thread.is_alive()
    inbox.put("b", is_urgent=True)
    thread.join(5)
    assert (thread.is_alive(), inbox.pop(), inbox.pop()) == (False, "a", "b")
