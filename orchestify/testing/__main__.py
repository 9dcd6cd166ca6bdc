"""`python -m orchestify.testing --port 0`: the stub server as a process of its own.

Prints `READY <port>` once it listens, and serves until SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import suppress

from orchestify.testing.server import StubServer


async def _serve(port: int, words: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows, where Ctrl-C is a KeyboardInterrupt
            loop.add_signal_handler(number, stopped.set)
    async with StubServer(port=port, words=words) as server:
        sys.stdout.write(f"READY {server.port}\n")
        sys.stdout.flush()
        await stopped.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m orchestify.testing",
        description="OpenAI's two protocols and Anthropic's on 127.0.0.1, for tests.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (the default)")
    parser.add_argument("--words", type=int, default=0, help="length of the default answer")
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments.port, arguments.words))


if __name__ == "__main__":
    main()
