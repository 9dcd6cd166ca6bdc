"""Addresses of providers: which are usable, and who can read what is sent there."""

from __future__ import annotations

import ipaddress
from typing import Literal, TypeAlias
from urllib.parse import SplitResult, urlsplit

Exposure: TypeAlias = Literal["none", "private", "public"]

_PRIVATE_SUFFIXES = (".local", ".internal", ".lan", ".home.arpa")


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
