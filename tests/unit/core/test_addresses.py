"""Which addresses strangers may have connections made to."""

from __future__ import annotations

import pytest

from orchestify.core.addresses import AddressRule
from orchestify.errors import ConfigError

PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"]
LOOPBACK_OR_PRIVATE = [
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255"),
    *("192.168.1.1", "100.64.0.1", "::1", "fd00::7", "fc00::1"),
    *("::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "64:ff9b::7f00:1"),
]
NEVER = [
    "0.0.0.0",  # noqa: S104 - nothing listens there
    # This network, link-local with the clouds' metadata, and metadata elsewhere.
    *("0.1.2.3", "169.254.169.254", "169.254.170.2", "168.63.129.16"),
    *("100.100.100.200", "192.0.0.192", "fe80::1", "fe80::1%eth0", "fd00:ec2::254"),
    *("fd20:ce::254", "fd00:42::42", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"),
    # Documentation, benchmarks, relays, multicast, reserved, broadcast.
    *("192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "192.88.99.1", "224.0.0.1"),
    *("239.1.2.3", "240.0.0.1", "255.255.255.255", "2001:db8::1", "2001:2::1", "3fff::1"),
    # IPv6: unspecified, multicast, site-local, discard, and forms that carry an IPv4 address.
    *("::", "ff02::1", "ff0e::1", "fec0::1", "100::1", "5f00::1", "2002:7f00:1::1"),
    *("2002:101:101::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "::127.0.0.1", "::1.1.1.1"),
    *("::ffff:0:127.0.0.1", "64:ff9b:1::7f00:1"),
    # What is no address at all.
    *("", "localhost", "127.1", "2130706433", "0x7f000001", "127.0.0.01", "1.1.1.1 "),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_reached(address: str) -> None:
    assert AddressRule().permits(address, 443)


@pytest.mark.parametrize("address", [*LOOPBACK_OR_PRIVATE, *NEVER])
def test_no_other_may(address: str) -> None:
    assert not AddressRule().permits(address, 443)


@pytest.mark.parametrize("address", [*LOOPBACK_OR_PRIVATE, *PUBLIC])
def test_a_service_that_listens_on_loopback_only_reaches_its_network(address: str) -> None:
    assert AddressRule(loopback=True).permits(address, 80)


@pytest.mark.parametrize("address", NEVER)
def test_it_reaches_no_metadata_all_the_same(address: str) -> None:
    assert not AddressRule(loopback=True).permits(address, 80)


@pytest.mark.parametrize(
    ("entry", "address", "port", "permitted"),
    [
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.0.0.1", 80, True),
        ("10.0.0.0/8", "192.168.0.1", 80, False),
        ("10.0.0.7/8", "10.1.2.3", 80, True),
        ("10.0.0.7", "10.0.0.7", 80, True),
        ("10.0.0.7", "10.0.0.8", 80, False),
        ("10.0.0.7:11434", "10.0.0.7", 11434, True),
        ("10.0.0.7:11434", "10.0.0.7", 80, False),
        ("fd00::/8", "fd12::1", 80, True),
        ("fd12::1", "fd12::1", 80, True),
        ("[fd12::1]:80", "fd12::1", 80, True),
        ("[fd12::1]:80", "fd12::1", 81, False),
        ("169.254.169.254", "169.254.169.254", 80, True),
        ("ollama", "10.0.0.7", 80, False),
    ],
)
def test_the_operator_allows_addresses(
    entry: str, address: str, port: int, permitted: bool
) -> None:
    assert AddressRule(allowed=(entry,)).permits(address, port) is permitted


@pytest.mark.parametrize(
    ("entry", "host", "port", "trusted"),
    [
        ("ollama", "ollama", 80, True),
        ("Ollama.Internal.", "ollama.internal", 80, True),
        ("ollama.internal", "OLLAMA.internal.", 80, True),
        ("ollama", "ollama.example.com", 80, False),
        ("example.com", "sub.example.com", 80, False),
        ("ollama:11434", "ollama", 11434, True),
        ("ollama:11434", "ollama", 22, False),
        ("10.0.0.0/8", "10.0.0.7", 80, True),
        ("10.0.0.0/8", "a.example.com", 80, False),
        ("xn--bcher-kva.example", "bücher.example", 80, True),
    ],
)
def test_the_operator_allows_hosts_whatever_their_address(
    entry: str, host: str, port: int, trusted: bool
) -> None:
    assert AddressRule(allowed=(entry,)).trusts(host, port) is trusted


@pytest.mark.parametrize(
    "entry",
    [
        *("", "http://ollama", "ollama:", "ollama:x", "10.0.0.0/99", "a b", "*.example.com"),
        *("127.1", "[fd00::1", "[ollama]", "-x", "bücher.example", "10.0.0.1:80:80"),
    ],
)
def test_an_entry_that_cannot_be_read_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match="expected a host, host:port or network"):
        AddressRule(allowed=(entry,))


@pytest.mark.parametrize(
    "base_url",
    [
        *("http://127.0.0.1", "http://127.0.0.1:8000/v1", "http://localhost", "http://LOCALHOST."),
        *("http://a.localhost/v1", "http://[::1]:80", "http://[::ffff:127.0.0.1]", "http://127.1"),
        *("http://2130706433", "http://0x7f000001", "http://0x7f.1", "http://017700000001"),
        *(
            "http://0",
            "https://169.254.169.254/latest",
            "http://[fd00:ec2::254]",
            "http://10.0.0.1",
        ),
        *("http://127.0.0.1.", "http://①②⑦.⓪.⓪.①", "http://127。0。0。1", "https://[::]"),
    ],
)
def test_a_text_that_can_only_lead_inside_is_refused_when_it_is_written(base_url: str) -> None:
    problem = AddressRule().problem(base_url) or ""
    assert problem.startswith("the base_url leads to an address that is not allowed")
    assert "--allow-endpoint" in problem


@pytest.mark.parametrize(
    ("base_url", "what"),
    [
        ("ftp://example.com", "expected an http or https address with a host"),
        ("http://me@example.com", "credentials do not belong in an address; use api_key"),
        ("http://example.com\\@127.0.0.1", "expected an http or https address with a host"),
    ],
)
def test_a_text_that_is_no_address_is_refused_as_before(base_url: str, what: str) -> None:
    assert AddressRule().problem(base_url) == what


@pytest.mark.parametrize(
    "base_url",
    ["https://api.example.com/v1", "http://1.1.1.1", "http://internal", "https://bücher.example"],
)
def test_a_name_is_judged_at_connection_only(base_url: str) -> None:
    assert AddressRule().problem(base_url) is None


def test_what_the_operator_allows_can_be_written() -> None:
    rule = AddressRule(allowed=("localhost:11434", "10.0.0.0/8"))
    assert rule.problem("http://localhost:11434/v1") is None
    assert rule.problem("http://10.2.3.4") is None
    assert rule.problem("http://localhost:22") is not None
    assert AddressRule(loopback=True).problem("http://127.0.0.1:11434") is None
    assert AddressRule(loopback=True).problem("http://169.254.169.254") is not None


def test_rules_are_equal_by_what_they_allow() -> None:
    assert AddressRule(("a",)) == AddressRule(("a",))
    assert hash(AddressRule(("a",))) == hash(AddressRule(("a",)))
    assert repr(AddressRule(("a",))) == "AddressRule(allowed=('a',), loopback=False)"
