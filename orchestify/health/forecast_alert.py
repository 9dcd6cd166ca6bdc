"""The alert that a month is expected to cost too much, told once a month."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from orchestify.errors import InvalidParameterError, LedgerError
from orchestify.events.events import Event, ForecastHigh
from orchestify.ledger.base import Ledger
from orchestify.ledger.record import utc_now

logger = logging.getLogger("orchestify.events")

EVERY_S = 600.0
_CLAIM = "forecast_told"


class ForecastAlert:
    """Forecasts the month while calls are made, every ten minutes at most.

    Where the forecast is `limit_usd` or more, `emit` is given a `ForecastHigh`, once a month: of
    all processes with one database by one. It is asked for on the loop on which an attempt has
    ended, and no call waits for it. None for no limit. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        emit: Callable[[Event], None],
        limit_usd: Decimal | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._ledger = ledger
        self._emit = emit
        self.limit_usd = limit_usd
        self._clock = clock
        self._now = now
        self._next_at = float("-inf")
        self._told = ""
        self._task: asyncio.Task[None] | None = None

    def alert_at(self, limit_usd: Decimal | None) -> None:
        """Take another limit; None for none."""
        self.limit_usd, self._next_at, self._told = limit_usd, float("-inf"), ""

    def observe(self) -> None:
        """Take note that an attempt has ended; never waits and never raises."""
        if self.limit_usd is None or self._clock() < self._next_at:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # in a `__del__`, say: a later attempt will do
            return
        self._next_at = self._clock() + EVERY_S
        self._task = loop.create_task(self.check(), name="orchestify-forecast")

    async def check(self) -> None:
        """Forecast the month, and tell where it is expected to reach the limit."""
        now, limit_usd = self._now(), self.limit_usd
        month = f"{now:%Y-%m}"
        if limit_usd is None or self._told == month:
            return
        from orchestify.ledger.forecasts import spend_forecast  # noqa: PLC0415 - for few: 5 ms

        try:
            total = (await spend_forecast(self._ledger, now)).total
            end = total.end
            if end is None or end.expected_usd < limit_usd:
                return
            is_first = await self._ledger.claim(_CLAIM, f"{month} {limit_usd}")
        except (LedgerError, InvalidParameterError) as error:
            logger.warning("the month could not be forecast: %s", error)
            return
        self._told = month
        if is_first:
            self._emit(
                ForecastHigh(
                    month=month,
                    expected_usd=end.expected_usd,
                    low_usd=end.low_usd,
                    high_usd=end.high_usd,
                    spent_usd=total.spent_usd,
                    limit_usd=limit_usd,
                )
            )

    async def aclose(self) -> None:
        """End what is under way."""
        task, self._task = self._task, None
        if task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
