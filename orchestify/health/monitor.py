"""Free checks of providers: all at once, each bounded, and repeatedly in the background."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeAlias

from orchestify.errors import InvalidParameterError, OrchestifyError, RateLimitError
from orchestify.health.health import Health
from orchestify.health.report import HealthReport

CHECK_TIMEOUT_S = 15.0
DEFAULT_INTERVAL_S = 30.0

CheckCall: TypeAlias = Callable[[], Awaitable[bool | None]]


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found: `ok` is None where it could not tell, `message` why it is not True."""

    ok: bool | None
    latency_s: float
    message: str = ""


class ListsModels(Protocol):
    """What can be checked for free."""

    async def list_models(self) -> list[str] | None:
        """Return the models on offer, by a free request; None where there is none."""


async def check(provider: ListsModels) -> bool | None:
    """Ask a provider for its models; True when it answers, None where nothing is free to ask.

    Raises:
        APIError: it did not answer, or refused.
    """
    return None if await provider.list_models() is None else True


async def check_all(
    checks: Mapping[str, CheckCall],
    timeout_s: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Check]:
    """Run the checks at once, each for at most `timeout_s`; what they raise is their result.

    A check returns whether the provider is well, None where it has no free request to ask with.
    """
    async with asyncio.TaskGroup() as group:
        tasks = {
            name: group.create_task(_result(check, timeout_s, clock))
            for name, check in tuple(checks.items())
        }
    return {name: task.result() for name, task in tasks.items()}


@dataclass(slots=True)
class Monitor:
    """Checks providers every `interval_s` while its `async with` lasts, the first time at once.

    `checks` holds a call for each provider, and is read anew every time. `intervals_s` holds those
    of providers that are checked more often or more rarely. Results go to `health`.
    """

    checks: Mapping[str, CheckCall]
    health: Health
    interval_s: float = DEFAULT_INTERVAL_S
    timeout_s: float = 10.0
    intervals_s: Mapping[str, float] = field(default_factory=dict)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    _tasks: list[asyncio.Task[None]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        times = {"interval_s": self.interval_s, "timeout_s": self.timeout_s, **self.intervals_s}
        for name, each in times.items():
            if not isinstance(each, (int, float)) or not 0 < each < math.inf:
                raise InvalidParameterError(f"monitor: {name}: expected seconds above 0")

    async def check_now(self) -> HealthReport:
        """Check every provider once, and return the health of each."""
        return await self._check(self.checks)

    async def __aenter__(self) -> Self:
        if self._tasks:
            raise InvalidParameterError("this monitor is running already; make another")
        self._tasks = [
            asyncio.create_task(self._repeat(each), name="orchestify-monitor")
            for each in {self.interval_s, *self.intervals_s.values()}
        ]
        return self

    async def __aexit__(self, *error: object) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            if not task.cancelled():
                task.result()  # raises what ended it early

    async def _repeat(self, interval_s: float) -> None:
        """Check the providers of one interval: none of them waits for one of another."""
        while True:
            await self._check(
                {
                    name: check
                    for name, check in tuple(self.checks.items())
                    if self.intervals_s.get(name, self.interval_s) == interval_s
                }
            )
            await self.sleep(interval_s)

    async def _check(self, checks: Mapping[str, CheckCall]) -> HealthReport:
        found = await check_all(checks, self.timeout_s, self.clock)
        for name, check in found.items():
            self.health.note_check(name, check.ok, check.latency_s, check.message)
        return HealthReport({name: self.health.stats(name) for name in found})


async def _result(check: CheckCall, timeout_s: float, clock: Callable[[], float]) -> Check:
    started = clock()
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            ok = await check()
    except Exception as error:
        message = f"no answer in {timeout_s:g} s" if limit.expired() else _words(error)
        # A rate limit says that the provider lives, and no more.
        return Check(
            None if isinstance(error, RateLimitError) else False, clock() - started, message
        )
    message = "" if ok else "no free request to check with" if ok is None else "the check failed"
    return Check(ok, clock() - started, message)


def _words(error: Exception) -> str:
    """Return the error's class, and its message where that is ours and so holds no secret."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, OrchestifyError) else name
