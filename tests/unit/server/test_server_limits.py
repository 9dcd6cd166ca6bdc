from __future__ import annotations

import pytest

from orchestify.errors import AccessError
from orchestify.server.access.limits import CallSlots, Throttle, network_of
from orchestify.server.access.tokens import parse_token
from orchestify.server.settings import is_loopback
from tests.clock import ManualClock


def test_a_minute_s_requests_may_come_at_once_and_then_one_by_one() -> None:
    clock = ManualClock()
    pace = Throttle(3, clock)
    assert [pace.take("token") for _ in range(3)] == [0, 0, 0]
    assert pace.take("token") == pytest.approx(20)
    clock.advance(20)
    assert pace.take("token") == 0
    assert pace.wait_s("token") == pytest.approx(20)


def test_a_refused_request_takes_nothing() -> None:
    clock = ManualClock()
    pace = Throttle(1, clock)
    pace.take("token")
    refused = [pace.take("token") for _ in range(5)]
    clock.advance(60)
    assert refused == pytest.approx([60] * 5)
    assert pace.take("token") == 0


def test_keys_do_not_share_their_pace_and_the_oldest_are_forgotten() -> None:
    pace = Throttle(1, ManualClock())
    pace.take("first")
    assert pace.take("second") == 0
    for number in range(10_000):
        pace.take(f"key {number}")
    assert pace.take("first") == 0


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("x" * 100, "x" * 64),
    ],
)
def test_a_sender_is_known_by_what_it_cannot_vary(remote: str, expected: str) -> None:
    assert network_of(remote) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.9.9.9", True),
        ("0.0.0.0", False),  # noqa: S104 - what is refused
        ("::", False),
        ("192.0.2.7", False),
        ("", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_token_holds_an_id_and_a_secret() -> None:
    assert parse_token(f"ork_{'a' * 32}_{'b' * 64}") == ("a" * 32, "b" * 64)


@pytest.mark.parametrize(
    "text",
    ["", "ork_", f"ork_{'a' * 32}", f"ork_{'a' * 32}_{'b' * 63}", f"ork_{'g' * 32}_{'b' * 64}\n"],
)
def test_what_is_no_token_of_ours_is_not_looked_up(text: str) -> None:
    assert parse_token(text) is None


def test_a_tenant_s_calls_under_way_are_counted_until_they_end() -> None:
    places = CallSlots(1)
    with places.slot_of("acme"), places.slot_of("globex"):
        with pytest.raises(AccessError, match="1 calls of this tenant") as refused:
            places.slot_of("acme").__enter__()
        assert (refused.value.status, refused.value.retry_after_s) == (429, 1.0)
    with places.slot_of("acme"):
        pass
