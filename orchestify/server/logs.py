"""The service's log: its format, and with `--access-log` a line for each request."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestify.resources.log_fields import log_fields
from orchestify.server.access.authentication import TENANT
from orchestify.server.settings import LogFormat

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_TELLING_RETURNS = ("ledger", "notices", "shared_limits")
"""Loggers that say at INFO, and there alone, that what was away is back."""

_access = logging.getLogger("orchestify.access")


def configure_logging(log_format: LogFormat) -> None:
    """Write the log to stderr; where the process has configured logging, leave that as it is."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(handlers=[handler])
    for name in _TELLING_RETURNS:
        logging.getLogger(f"orchestify.{name}").setLevel(logging.INFO)
    _access.setLevel(logging.INFO)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: `time`, `level`, `logger`, `message`, and its fields.

    Money is text, so that it stays exact.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; an exception's traceback stands in `exception`."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            **getattr(record, "fields", {}),
            "time": moment,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class AccessLog:
    """Logs each request as it ends: the endpoint, not what stands in its path, and no header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, sent = time.monotonic(), 0, 0
        headers: dict[bytes, bytes] = {}

        async def watched(message: Message) -> None:
            nonlocal status, sent, headers
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = dict(message.get("headers", ()))
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            fields = {
                "method": scope["method"],
                "path": getattr(scope.get("route"), "path", "(none)"),
                "status": status,
                "duration_s": time.monotonic() - began,
                "bytes": sent,
                "tenant": scope.get(TENANT, ""),
                "client": (scope.get("client") or ("",))[0],
                "call_id": headers.get(_CALL_ID, b"").decode("latin-1"),
                "request_id": headers.get(_REQUEST_ID, b"").decode("latin-1"),
            }
            log_fields(_access, logging.INFO, "request", fields)


_CALL_ID, _REQUEST_ID = b"x-orchestify-call-id", b"request-id"
