"""Addresses of providers: which are valid, who can read what is sent, which may be reached.

Where strangers write addresses, an `AddressRule` has two checks: `problem` on the text of a
`base_url`, for a quick answer, and `permits` on the address that a connection is about to use,
because a name may lead elsewhere tomorrow.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import SplitResult, urlsplit

from orchestify.errors import ConfigError

Exposure: TypeAlias = Literal["none", "private", "public"]

_IP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

HTTP_PORTS = {"http": 80, "https": 443}
_PRIVATE_SUFFIXES = (".local", ".internal", ".lan", ".home.arpa")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_ENTRY = re.compile(r"(?:\[(?P<v6>[^]]+)\]|(?P<host>[^:]+))(?::(?P<port>\d{1,5}))?")
_LOCALHOST = re.compile(r"(?:.+\.)?localhost")


def address_problem(url: str) -> str | None:
    """Say why an address is no http(s) endpoint, or None."""
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        return "expected an http or https address with a host"
    if "@" in parts.netloc:
        return "credentials do not belong in an address; use api_key"
    return None


def exposure(url: str | None) -> Exposure:
    """Say who can read a key sent to an address: nobody, a private network, or anyone.

    Only plain http exposes, and not on this machine. Of names, those without a dot and those of
    the suffixes that stay private count as private (RFC 6762, RFC 8375, ICANN's `.internal`).
    """
    parts = _split(url or "")
    if parts is None or parts.scheme != "http" or not parts.hostname:
        return "none"
    host = parts.hostname.rstrip(".")
    try:
        return _exposure_of_ip(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return _exposure_of_name(host)


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# A table of our own: `is_global` says yes to multicast, to site-local and to most forms of IPv6
# that carry an IPv4 address, and changed between patch releases of Python.
# Source: IANA, special-purpose address registries for IPv4 and IPv6 (RFC 6890).
_UNROUTED = _networks(
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
    # Of IPv6: Teredo and others, documentation, 6to4.
    *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
)
_UNICAST6 = ipaddress.IPv6Network("2000::/3")  # all that IANA has given out of IPv6
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the rest is an IPv4 address

# What a service that only its own machine reaches may reach too.
_NEAR = _networks(
    *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    *("::1/128", "fc00::/7"),
)
# Metadata services of clouds at addresses that look public or private; the others are link-local.
# Sources: Azure, Alibaba Cloud, AWS, Google Cloud and Scaleway, each on its metadata service.
_METADATA = _networks(
    *("168.63.129.16/32", "100.100.100.200/32"),
    *("fd00:ec2::/32", "fd20:ce::/32", "fd00:42::/32"),
)


class _Allowed(NamedTuple):
    """One entry of the operator's: a name or a network; any port where `port` is None."""

    where: str | _Network
    port: int | None

    def holds(self, where: str | _IP, port: int) -> bool:
        if self.port not in {None, port}:
            return False
        if isinstance(where, str) or isinstance(self.where, str):
            return where == self.where
        return where in self.where


@dataclass(frozen=True, slots=True)
class AddressRule:
    """Public addresses, and what the operator allows.

    `allowed` holds hosts, `host:port` and networks (`ollama`, `10.0.0.7:11434`, `[fd00::7]:80`,
    `10.0.0.0/8`). With `loopback`, for a service that only its own machine reaches, loopback and
    private addresses are fine as well; link-local ones and metadata services are not. `party` is
    whose connections they are: the names of one are looked up beside those of another.

    Raises:
        ConfigError: an entry of `allowed` cannot be read.
    """

    allowed: tuple[str, ...] = ()
    loopback: bool = False
    party: str = field(default="", repr=False)
    _entries: tuple[_Allowed, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_entries", tuple(map(_entry, self.allowed)))

    def permits(self, address: str, port: int) -> bool:
        """Whether a connection may go to an address, as numbers; what cannot be read may not."""
        ip = _ip(address)
        while ip is not None:
            if self._allows(ip, port):
                return True
            inner = _inner(ip)
            if inner is None:
                return _is_public(ip) or (self.loopback and _is_near(ip))
            ip = inner
        return False

    def trusts(self, host: str, port: int) -> bool:
        """Whether a host is fine whatever address it has: it needs no check at connection.

        That is what the operator allows by name, and with `loopback` this machine by its name.
        An address in numbers is trusted where the operator, not the rule's own table, allows it.
        """
        plain = _plain(host)
        if self.loopback and _LOCALHOST.fullmatch(plain):
            return True
        ip = _ip(plain)
        return self._allows(plain if ip is None else ip, port) or bool(
            self.loopback and ip is not None and _is_near(ip)
        )

    def problem(self, base_url: str) -> str | None:
        """Say why an address as it is written can never be reached, or None.

        None says little: a name is judged by what it leads to, at connection.
        """
        wrong = address_problem(base_url)
        if wrong is not None:
            return wrong
        parts = urlsplit(base_url)
        port = parts.port or HTTP_PORTS[parts.scheme]
        host = _plain(parts.hostname or "")
        if self.trusts(host, port):
            return None
        ip = _ip(host) or _odd_ipv4(host)
        refused = (
            bool(_LOCALHOST.fullmatch(host)) if ip is None else not self.permits(str(ip), port)
        )
        return not_allowed(parts.netloc) if refused else None

    def _allows(self, where: str | _IP, port: int) -> bool:
        return any(entry.holds(where, port) for entry in self._entries)


def not_allowed(host: str) -> str:
    """Say that a host may not be reached, and who can change that; never what address it has."""
    return (
        "the base_url leads to an address that is not allowed; the operator can allow it with "
        f"--allow-endpoint {host}"
    )


def not_reached(host: str) -> str:
    """Say the same of a name that leads nowhere and of one that leads where it may not.

    Which of them it is would tell strangers the names of a private network.
    """
    return (
        "the base_url leads to no address that is allowed; check the name, or have the operator "
        f"allow it with --allow-endpoint {host}"
    )


def _entry(text: str) -> _Allowed:
    """Read an entry of the operator's.

    Raises:
        ConfigError: it is none.
    """
    try:
        if "/" in text:
            return _Allowed(ipaddress.ip_network(text, strict=False), None)
        if text.count(":") > 1 and not text.startswith("["):
            return _Allowed(ipaddress.ip_network(text), None)
        found = _ENTRY.fullmatch(text)
        if found is not None:
            port = None if found["port"] is None else int(found["port"])
            return _Allowed(_host(found["v6"], found["host"]), port)
    except ValueError:
        pass
    raise ConfigError(
        f"allowed endpoints: expected a host, host:port or network (10.0.0.0/8), not {text!r}"
    )


def _host(v6: str | None, host: str) -> str | _Network:
    """Return a network of one address, or a name; what is neither raises ValueError."""
    if v6 is not None:
        return ipaddress.IPv6Network(v6)
    plain = _plain(host)
    if _ip(plain) is not None:
        return ipaddress.ip_network(plain)
    if not host.isascii() or not _NAME.fullmatch(plain) or _odd_ipv4(plain) is not None:
        raise ValueError
    return plain


def _plain(host: str) -> str:
    """Return a host as it is compared: ASCII where that can be, lower case, no dot at its end."""
    if not host.isascii():
        with contextlib.suppress(UnicodeError):
            host = host.encode("idna").decode()
    return host.lower().rstrip(".")


def _ip(text: str) -> _IP | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _odd_ipv4(host: str) -> ipaddress.IPv4Address | None:
    """Return the address that a resolver reads in `127.1`, `0x7f.1` or `2130706433`."""
    if not host.rpartition(".")[2][:1].isdigit():
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _inner(ip: _IP) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that a connection to an IPv6 address ends at."""
    if isinstance(ip, ipaddress.IPv4Address):
        return None
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped


def _is_public(ip: _IP) -> bool:
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _UNICAST6:
        return False
    return not any(ip in network for network in (*_UNROUTED, *_METADATA))


def _is_near(ip: _IP) -> bool:
    return any(ip in network for network in _NEAR) and not any(
        ip in network for network in _METADATA
    )


def _split(url: str) -> SplitResult | None:
    if not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises on a port that is no number
    except ValueError:
        return None
    return parts


def _exposure_of_ip(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Exposure:
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    ip = mapped or ip
    if ip.is_loopback:
        return "none"
    return "public" if ip.is_global else "private"


def _exposure_of_name(host: str) -> Exposure:
    if host == "localhost" or host.endswith(".localhost"):
        return "none"
    if host.rpartition(".")[2][:1].isdigit():  # an IPv4 address in another spelling
        return "public"
    return "private" if "." not in host or host.endswith(_PRIVATE_SUFFIXES) else "public"
