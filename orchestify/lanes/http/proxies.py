"""The proxy of an address, as the environment names it (`HTTPS_PROXY`, `NO_PROXY` and others)."""

from __future__ import annotations

import ipaddress
import re
import urllib.request
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import aiohttp
from yarl import URL

from orchestify.errors import ConfigError

_IP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_ENTRY = re.compile(r"(?:\[(?P<v6>[^]]+)\]|(?P<host>[^:]+))(?::(?P<port>\d{1,5}))?")


class Proxy(NamedTuple):
    """Where requests go first, and the headers it wants; both empty where they go straight."""

    url: URL | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"Proxy({self.url})"


STRAIGHT = Proxy()
"""Without a proxy."""


def proxy_for(url: URL) -> Proxy:
    """Return the proxy that the environment names for an address.

    Raises:
        ConfigError: it is no http proxy.
    """
    proxies = urllib.request.getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    host = url.raw_host
    if not named or not host:
        return STRAIGHT
    if _is_excepted(host, url.port, proxies.get("no", "")):
        return STRAIGHT
    if not urllib.request.getproxies_environment() and urllib.request.proxy_bypass(host):
        return STRAIGHT  # by the system's settings
    proxy = URL(named if "://" in named else f"http://{named}")
    if proxy.scheme not in {"http", "https"}:
        raise ConfigError(
            f"the environment names a {proxy.scheme} proxy for {url.host}; the direct lanes take "
            "http proxies only: set NO_PROXY, or engine: litellm"
        )
    if not proxy.user:
        return Proxy(proxy)
    login = aiohttp.encode_basic_auth(proxy.user, proxy.password or "")
    return Proxy(proxy.with_user(None), {"Authorization": login})


def are_proxies_http() -> bool:
    """Whether the environment names no other proxies than those that can be used here."""
    named = urllib.request.getproxies()
    proxies = (named.get(scheme) or "http" for scheme in ("http", "https", "all"))
    return all(each.partition("://")[0] in {"http", "https"} for each in proxies if "://" in each)


def _is_excepted(host: str, port: int | None, no_proxy: str) -> bool:
    """Say whether a host is one of those that `NO_PROXY` names.

    An entry is a name (and all names below it), an address or a network, with a port or without;
    `*` is every host. Source: curl(1), `--noproxy`, and its lib/noproxy.c.
    """
    entries = no_proxy.replace(",", " ").split()
    plain = host.lower().rstrip(".")
    return entries == ["*"] or any(_names(entry.lower(), plain, port) for entry in entries)


def _names(entry: str, host: str, port: int | None) -> bool:
    ip = _address(host)
    if ip is not None and ("/" in entry or ip == _address(entry)):
        return _holds(entry, ip)
    found = _ENTRY.fullmatch(entry)
    if found is None or (found["port"] and int(found["port"]) != port):
        return False
    wanted = (found["v6"] or found["host"]).strip(".")
    if ip is not None:
        return ip == _address(wanted)
    return bool(wanted) and f".{host}".endswith(f".{wanted}")


def _holds(network: str, ip: _IP) -> bool:
    try:
        return ip in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(text: str) -> _IP | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
