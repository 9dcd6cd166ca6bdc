"""How the service is run: what `orchestify serve` is told."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

LogFormat: TypeAlias = Literal["text", "json"]

DEFAULT_DATABASE = "sqlite:///.orchestify/service.db"
OPEN_TENANT = "default"
"""Whose the requests are while the service runs open, on loopback without any token."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Where the service listens, what it uses, and its limits.

    Relative paths start at `base_dir`. The providers of `import_path` are stored at the start.
    `allowed_endpoints` are hosts (with or without a port) that a tenant's base_url may reach
    although they are not public. With `allows_unbounded` calls
    go to those of LiteLLM's backends whose answers nothing bounds, too. `proxies` are the addresses
    of reverse proxies, whose word on a request's origin is believed. `machines` share Redis's
    limits. `requests_per_minute` are a token's, `denied_per_minute` an address's, of requests
    without a token that holds. `calls_per_tenant` of one are under way at a time. A stream
    that is silent for `keep_alive_s` sends a comment or a ping (None: never). Pages of
    `cors_origins` may call the gateway. With the operator's key go, beside those that the service
    knows, `allowed_fields` and `allowed_betas` of Anthropic's protocol, and `allowed_tools` that
    Anthropic runs. A process that ends waits
    `grace_s` for the requests under way. With `telemetry` it tells of calls over
    OpenTelemetry, as OpenTelemetry's own variables say. With `are_keys_lost` it starts although no
    stored key can be opened. With `access_log` each request is a line of the log.
    """

    database: str = field(default=DEFAULT_DATABASE, repr=False)
    config_path: Path | None = None
    import_path: Path | None = None
    base_dir: Path = Path()
    host: str = "127.0.0.1"
    port: int = 8000
    redis_url: str | None = field(default=None, repr=False)
    machines: int = 1
    allowed_endpoints: tuple[str, ...] = ()
    allows_unbounded: bool = False
    proxies: tuple[str, ...] = ()
    body_limit_bytes: int = 32 * 1024 * 1024
    requests_per_minute: int = 600
    denied_per_minute: int = 60
    calls_per_tenant: int = 200
    keep_alive_s: float | None = 15.0
    grace_s: float = 20.0
    cors_origins: tuple[str, ...] = ()
    allowed_fields: tuple[str, ...] = ()
    allowed_betas: tuple[str, ...] = ()
    allowed_tools: tuple[str, ...] = ()
    telemetry: bool = False
    are_keys_lost: bool = False
    access_log: bool = False
    log_format: LogFormat = "text"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect, and hands on what nobody else sends."""
        return not self.proxies and is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Say whether every address of a host's name is one of this machine alone."""
    try:
        found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    return bool(host) and all(address.is_loopback for address in addresses)
