"""The live view's page: one document with its script and style in it, and its policy.

Its content comes from the service by the script; the document itself holds nothing of anybody's.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

PATH = "api/v1/live"
"""Where the script asks for states, beneath where the page is."""


class Page(NamedTuple):
    """The document, and the headers that it is answered with."""

    text: str
    headers: dict[str, str]


@lru_cache(1)
def live_page() -> Page:
    """Return the page; its script and style alone may run, and it speaks with its own origin."""
    here, report = files("orchestify.server.live"), files("orchestify.report")
    style = "".join(
        each.read_text(encoding="utf-8")
        for each in (report.joinpath("page.css"), here.joinpath("live.css"))
    )
    script = here.joinpath("live.js").read_text(encoding="utf-8")
    text = here.joinpath("page.html").read_text(encoding="utf-8")
    text = text.replace("/*style*/", style).replace("/*script*/", script)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    return Page(text, {"Content-Security-Policy": policy, "Cache-Control": "no-cache"})


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
