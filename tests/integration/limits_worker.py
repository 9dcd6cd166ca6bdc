"""Takes as much as a shared limit lets it for some seconds; a process of its own.

    python limits_worker.py URL PREFIX REQUESTS TOKENS WINDOW_S SECONDS

Every call reserves 100 tokens and uses 70. It writes `ready`, reads the moment to begin at (seconds
since 1970) from its standard input, and writes, as JSON, when each call was granted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress

from orchestify.errors import RateLimitError
from orchestify.policy.rate_limit import RateLimiter
from orchestify.shared_limits import RedisConnection, SharedRateLimiter, SharedSlidingWindow


async def main(url: str, prefix: str, numbers: list[int], seconds: float) -> None:
    requests, tokens, window_s = numbers
    link = RedisConnection(url, prefix)
    limiter = SharedRateLimiter(
        link,
        RateLimiter(),
        requests=[SharedSlidingWindow(link, "requests", requests, window_s)],
        tokens=[SharedSlidingWindow(link, "tokens", tokens, window_s)],
    )
    granted: list[float] = []
    print("ready", flush=True)  # noqa: T201 - all is imported
    begin = float(sys.stdin.readline())

    async def work() -> None:
        deadline = time.monotonic() + begin + seconds - time.time()
        with suppress(RateLimitError):
            while time.monotonic() < deadline:
                grant = await limiter.acquire(100, deadline=deadline)
                granted.append(time.time())
                grant.settle(70)
                grant.release()

    await asyncio.sleep(begin - time.time())
    await asyncio.gather(*(work() for _ in range(4)))
    state = link.state
    await link.aclose()
    print(json.dumps({"state": state, "granted": granted}))  # noqa: T201 - its answer


if __name__ == "__main__":
    given = sys.argv[1:]
    limits = [int(each) for each in given[2:5]]
    asyncio.run(main(given[0], given[1], limits, float(given[5])))
