"""Headless Chromium, asked over its DevTools protocol: what a page shows, asks for, complains of.

Source: chromedevtools.github.io/devtools-protocol.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = Path("/usr/bin/chromium")
START_S = 30.0


@contextmanager
def chromium(profile: Path) -> Iterator[str]:
    """A running browser's address; skips where there is none, and fails in CI."""
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI has no {CHROMIUM}")
        pytest.skip(f"no {CHROMIUM}")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    where = ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(  # noqa: S603 - what the tests need it for
        [CHROMIUM, *options, *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with process:
        try:
            yield f"http://127.0.0.1:{_port(profile / 'DevToolsActivePort')}"
        finally:
            process.terminate()


class Tab:
    """One page; `requests` are the URLs it asked for, `complaints` what its console shows."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._sent = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def run(self, method: str, **given: Any) -> dict[str, Any]:
        """Do one of the protocol's methods and return its result."""
        self._sent += 1
        await self._socket.send_json({"id": self._sent, "method": method, "params": given})
        while True:
            message = await self._next()
            if message.get("id") == self._sent:
                assert "error" not in message, message
                return message["result"]

    async def open(self, path: Path) -> None:
        """Load a file; return when all of it is there."""
        await self.visit(path.as_uri())

    async def visit(self, url: str) -> None:
        """Load a page; return when all of it is there, but what its script does later."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.run(f"{domain}.enable")
        await self.run("Page.navigate", url=url)
        while (await self._next()).get("method") != "Page.loadEventFired":
            pass

    async def value(self, expression: str) -> Any:
        """Return what a JavaScript expression is worth on the page."""
        answer = await self.run("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    async def holds(self, expression: str) -> None:
        """Return when a JavaScript expression is true on the page; fail where it does not."""
        async with asyncio.timeout(START_S):
            while await self.value(expression) is not True:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)

    async def press(self, key: str, code: int = 0, text: str = "") -> None:
        """Press a key and let it go; `text` is what it types."""
        given = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        await self.run("Input.dispatchKeyEvent", type="keyDown", **given, text=text)
        await self.run("Input.dispatchKeyEvent", type="keyUp", **given)

    async def on_phone(self) -> None:
        """Be 360 points wide, as a small phone is."""
        await self.run(
            "Emulation.setDeviceMetricsOverride",
            width=360,
            height=800,
            deviceScaleFactor=1,
            mobile=True,
        )

    async def _next(self) -> dict[str, Any]:
        message = await self._socket.receive_json(timeout=START_S)
        method, given = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(str(given))
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"a dialog: {given['message']}")
        return message


@asynccontextmanager
async def tab(address: str) -> AsyncIterator[Tab]:
    """An empty page of the browser at `address`."""
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{address}/json/new?about:blank") as answer:
            found = await answer.json()
        async with session.ws_connect(found["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            try:
                yield Tab(socket)
            finally:
                async with session.get(f"{address}/json/close/{found['id']}"):
                    pass


def _port(file: Path) -> str:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if file.exists() and (text := file.read_text()):
            return text.splitlines()[0]
        time.sleep(0.05)
    pytest.fail("Chromium did not start")
