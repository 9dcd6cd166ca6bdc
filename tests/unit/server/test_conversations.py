"""What is kept of conversations: sealed, each tenant's own, bounded, for an hour."""

from __future__ import annotations

from orchestify.server.conversations import KeptConversations
from orchestify.server.conversations.kept import KEEP_S, MOST_CHARS
from orchestify.server.conversations.memory import MemoryValues
from orchestify.vault.cipher import Cipher, new_encryption_key


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_text_comes_back_to_its_tenant_and_key_alone() -> None:
    kept = KeptConversations()
    await kept.put("acme", "a", "secret thoughts")
    assert await kept.get("acme", ["a", "b"]) == ["secret thoughts", None]
    assert await kept.get("other", ["a"]) == [None]


async def test_a_text_ends_with_its_hour() -> None:
    clock = Clock()
    kept = KeptConversations(clock=clock)
    await kept.put("acme", "a", "one")
    clock.now += KEEP_S - 1
    before = await kept.get("acme", ["a"])
    clock.now += 1
    assert (before, await kept.get("acme", ["a"])) == (["one"], [None])


async def test_what_is_forgotten_is_gone_for_one_tenant() -> None:
    kept = KeptConversations()
    await kept.put("acme", "a", "one")
    await kept.put("other", "a", "two")
    assert await kept.forget("acme")
    assert not kept.may_have("acme")
    assert await kept.get("acme", ["a"]) == [None]
    assert await kept.get("other", ["a"]) == ["two"]


async def test_what_is_too_long_is_not_kept() -> None:
    kept = KeptConversations()
    await kept.put("acme", "a", "x" * (MOST_CHARS + 1))
    assert not kept.may_have("acme")


def test_names_of_texts_depend_on_the_encryption_key() -> None:
    one, two = (KeptConversations(Cipher([("key", new_encryption_key())])) for _ in range(2))
    assert one.key_of("hello") == one.key_of("hello")
    assert one.key_of("hello") != one.key_of("hello there")
    assert one.key_of("hello") != two.key_of("hello")


def test_a_tenant_that_keeps_too_much_loses_its_oldest() -> None:
    values = MemoryValues(60, tenant_bytes=10, all_bytes=100)
    values.put("acme", "a", "12345")
    values.put("acme", "b", "12345")
    values.put("other", "a", "12345")
    values.put("acme", "c", "12345")
    found = [values.get("acme", key) for key in "abc"]
    assert found == [None, "12345", "12345"]
    assert values.get("other", "a") == "12345"


def test_where_all_keep_too_much_the_largest_makes_room() -> None:
    values = MemoryValues(60, tenant_bytes=10, all_bytes=12)
    values.put("small", "a", "123")
    values.put("large", "a", "12345")
    values.put("large", "b", "12345")
    assert values.get("large", "a") is None
    assert (values.get("small", "a"), values.get("large", "b")) == ("123", "12345")


def test_a_value_of_a_key_takes_the_place_of_the_one_before() -> None:
    values = MemoryValues(60, tenant_bytes=10, all_bytes=100)
    values.put("acme", "a", "1234567")
    values.put("acme", "a", "7654321")
    assert values.get("acme", "a") == "7654321"
    assert "acme" in values
    values.forget("acme")
    assert "acme" not in values
