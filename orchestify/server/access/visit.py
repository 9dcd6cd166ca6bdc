"""A request as the door sees it: where it comes from, its token, what the audit log is told."""

from __future__ import annotations

import ipaddress
from functools import cached_property
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from orchestify.server.access.limits import neighbourhood
from orchestify.server.access.principal import Principal
from orchestify.server.access.refusals import Refusal


class Visit:
    """What the door looks at of a request."""

    def __init__(self, request: HTTPConnection) -> None:
        self._request = request
        self.remote = request.client.host if request.client else ""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        self.token = value.strip() if scheme.lower() == "bearer" else ""
        self.principal: Principal | None = None
        self.tenant: str | None = None

    @cached_property
    def neighbourhood(self) -> str:
        """Where it comes from; only those who are refused are asked."""
        return neighbourhood(self.remote)

    @property
    def is_local(self) -> bool:
        """Whether this machine sends it; a browser, if one does, for a page of this service itself.

        A name that leads here but is none of this machine's is DNS rebinding. What was forwarded
        comes from elsewhere.
        """
        headers = self._request.headers
        if not _is_loopback(self.remote) or any(map(_is_forwarding, headers)):
            return False
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        own = {f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts}
        return len(hosts) == 1 and _is_own_name(hosts[0]) and own.issuperset(origins)

    def refusal(self, reason: str) -> Refusal:
        """Return what the audit log is told."""
        route = self._request.scope.get("route")
        path = getattr(route, "path", self._request.url.path)
        return Refusal(
            actor=self.principal.actor if self.principal else "unknown",
            remote=self.neighbourhood,
            target=f"{self._request.scope.get('method', '')} {path}",
            reason=reason,
            tenant=self.principal.tenant_id if self.principal else self.tenant,
        )


def _is_forwarding(header: str) -> bool:
    return header in {"forwarded", "via", "x-real-ip"} or header.startswith("x-forwarded-")


def _is_own_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
