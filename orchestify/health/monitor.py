"""Free checks of providers: all at once, each bounded, and repeatedly in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeAlias

from orchestify.errors import InvalidParameterError, OrchestifyError, RateLimitError
from orchestify.health.health import Health, ProviderHealth

CHECK_TIMEOUT_S = 15.0

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
            name: group.create_task(_check(check, timeout_s, clock))
            for name, check in tuple(checks.items())
        }
    return {name: task.result() for name, task in tasks.items()}


@dataclass(slots=True)
class Monitor:
    """Checks providers every `interval_s` while its `async with` lasts, the first time at once.

    `checks` holds a call for each provider, and is read anew every time. Results go to `health`.
    """

    checks: Mapping[str, CheckCall]
    health: Health
    interval_s: float = 30.0
    timeout_s: float = 10.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    _task: asyncio.Task[None] | None = field(default=None, init=False, repr=False)

    async def check_now(self) -> dict[str, ProviderHealth]:
        """Check every provider once, and return the health of each."""
        found = await check_all(self.checks, self.timeout_s, self.clock)
        for name, check in found.items():
            self.health.note_check(name, check.ok, check.latency_s, check.message)
        return {name: self.health.stats(name) for name in found}

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise InvalidParameterError("this monitor is running already; make another")
        self._task = asyncio.create_task(self._run(), name="orchestify-monitor")
        return self

    async def __aexit__(self, *error: object) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.result()  # raises what ended it early

    async def _run(self) -> None:
        while True:
            await self.check_now()
            await self.sleep(self.interval_s)


async def _check(check: CheckCall, timeout_s: float, clock: Callable[[], float]) -> Check:
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
