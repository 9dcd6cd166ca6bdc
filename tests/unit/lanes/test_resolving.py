from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from orchestify.lanes.http.resolving import GuardedResolver

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 443))]


class NameServer:
    """Answers for `there`, says nothing for other names until it is let go, and counts."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, *_: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        if host == "there":
            return FOUND
        self.released.wait(20)
        raise socket.gaierror("nothing is called so")


@pytest.fixture
def names() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.released.set()


async def test_a_name_leads_to_its_addresses(names: NameServer) -> None:
    (found,) = await GuardedResolver("acme", names).resolve("there", 443)
    assert (found["hostname"], found["host"], found["port"]) == ("there", "192.0.2.7", 443)


async def test_one_partys_hanging_names_hold_up_no_other_party(names: NameServer) -> None:
    hanging = [GuardedResolver("first", names, within_s=20) for _ in range(24)]
    tasks = [asyncio.create_task(each.resolve(f"dead{n}")) for n, each in enumerate(hanging)]
    await asyncio.sleep(0)
    (found,) = await asyncio.wait_for(GuardedResolver("second", names).resolve("there", 443), 10)
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    names.released.set()
    failed = await asyncio.gather(*tasks, return_exceptions=True)
    assert found["host"] == "192.0.2.7"
    assert {type(each) for each in failed} == {socket.gaierror}


async def test_a_party_looks_up_two_names_at_a_time(names: NameServer) -> None:
    tasks = [
        asyncio.create_task(GuardedResolver("third", names, within_s=0.3).resolve(f"dead{n}"))
        for n in range(5)
    ]
    failed = await asyncio.gather(*tasks, return_exceptions=True)
    assert len(names.asked) == 2
    assert [str(each) for each in failed] == ["the name was not found within 0.3 s"] * 5


async def test_a_name_that_was_not_found_is_not_looked_up_again_at_once(names: NameServer) -> None:
    names.released.set()
    resolver = GuardedResolver("fourth", names)
    with pytest.raises(socket.gaierror):
        await resolver.resolve("dead")
    with pytest.raises(OSError, match="a moment ago"):
        await resolver.resolve("dead")
    assert names.asked == ["dead"]
