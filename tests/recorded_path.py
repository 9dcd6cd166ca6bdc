"""Recorded exchanges through the whole path: a registry with a ledger, a provider an exchange."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestify import LLMProvider, LLMResponse
from orchestify.core.config import parse_config
from orchestify.errors import APIError
from orchestify.values import Usage
from tests import recorded
from tests.lanes import opened
from tests.ledgers import sqlite_rows
from tests.recorded import Exchange

AT_ONCE = 8
COLUMNS = ("exchanges", "told", "equal", "estimated", "unknown", "failed", "other")
# What of a usage the price needs and the ledger does not keep, as it reads there.
PRICED_ONLY: dict[str, Any] = {
    **dict.fromkeys(("input_audio", "input_image", "output_audio", "output_image"), 0),
    "cache_read_audio": 0,
    "modifiers": (),
    "iterations": (),
}


@dataclass(frozen=True)
class Read:
    """An exchange as it was answered and as it was booked; `response` is None where it failed."""

    exchange: Exchange
    response: LLMResponse | None
    error: str
    usage: Usage
    cost_usd: Decimal | None
    cost_source: str

    @property
    def is_told(self) -> bool:
        """Whether the provider reported its usage."""
        return self.exchange.expect["usage"] is not None

    @property
    def told_cost_usd(self) -> Decimal | None:
        """What the provider said the call cost, as exact as the ledger keeps it."""
        cost = self.exchange.expect["cost_usd"]
        return None if cost is None else round(Decimal(str(cost)), 12)

    @property
    def answered_usage(self) -> Usage | None:
        """What the answer tells of the usage that the ledger keeps too."""
        usage = None if self.response is None else self.response.usage
        return None if usage is None else replace(usage, **PRICED_ONLY)

    @property
    def verdict(self) -> str:
        """`equal`, `estimated`, `unknown`, `failed: class`, or `other: the counts that differ`."""
        if self.response is None:
            return f"failed: {self.error}"
        if self.usage.source != "reported":
            return self.usage.source
        return f"other: {' '.join(differing)}" if (differing := self._differing()) else "equal"

    def _differing(self) -> list[str]:
        told, usage = self.exchange.expect["usage"] or {}, self.usage
        pairs = {
            "prompt": usage.input_tokens,
            "completion": usage.output_tokens,
            "cached": usage.cache_read,
            "cache_write": usage.cache_write,
            "reasoning": usage.reasoning,
        }
        return [name for name, ours in pairs.items() if ours != (told.get(name) or 0)]


def table(reads: Iterable[Read]) -> str:
    """The verdicts by provider; `told` counts exchanges in which usage was reported at all."""
    counts: dict[str, Counter[str]] = {"TOTAL": Counter()}
    for read in reads:
        words = ["exchanges", read.verdict.partition(":")[0], *["told"] * read.is_told]
        for row in (read.exchange.provider, "TOTAL"):
            counts.setdefault(row, Counter()).update(words)
    head = f"{'':<12}" + "".join(f"{column:>11}" for column in COLUMNS)
    rows = [
        f"{name:<12}" + "".join(f"{counts[name][column]:>11}" for column in COLUMNS)
        for name in sorted(counts, key=lambda name: (name == "TOTAL", name))
    ]
    return "\n".join(["", head, *rows])


async def read_all(
    exchanges: Iterable[Exchange], settings: Callable[[Exchange], dict[str, Any]], folder: Path
) -> dict[str, Read]:
    """Ask for each exchange once; `settings` gives its provider's configuration."""
    kept = list(exchanges)
    async with _replay() as url:
        providers = {
            each.id: {
                "base_url": url,
                "api_key": "test-key",
                "headers": {"x-replay-id": each.id},
                **settings(each),
            }
            for each in kept
        }
        written = {
            "providers": providers,
            "retry": {"max_attempts": 1},
            "timeout_s": 60,
            "ledger": {"url": f"sqlite:///{folder}/usage.db"},
        }
        answers: dict[str, LLMResponse | APIError] = {}
        async with opened(parse_config(json.dumps(written))) as registry:
            waiting = iter(kept)

            async def work() -> None:
                for each in waiting:
                    answers[each.id] = await _ask(registry.get(each.id), each)

            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    booked = {row[0]: row[1:] for row in sqlite_rows(folder / "usage.db", ROWS)}
    return {each.id: _read(each, answers[each.id], booked[each.id]) for each in kept}


ROWS = """SELECT provider, input_tokens, output_tokens, cache_read, cache_write, cache_write_1h,
reasoning, searches, service_tier, usage_source, usage_invalid, cost_picousd, cost_source
FROM usage_records"""


async def _ask(provider: LLMProvider, exchange: Exchange) -> LLMResponse | APIError:
    try:
        if "-json-" in exchange.id:
            return await provider.complete("hi")
        stream = provider.stream("hi")
        async for _ in stream:
            pass
        return stream.response
    except APIError as error:
        return error


def _read(exchange: Exchange, answer: Any, row: tuple[Any, ...]) -> Read:
    *counts, tier, source, invalid, pico, cost_source = row
    usage = Usage(
        *counts,
        service_tier=tier,
        source=source,
        invalid=tuple(filter(None, invalid.split(","))),
    )
    failed = isinstance(answer, APIError)
    return Read(
        exchange,
        None if failed else answer,
        type(answer).__name__ if failed else "",
        usage,
        None if pico is None else Decimal(pico).scaleb(-12),
        cost_source,
    )


@asynccontextmanager
async def _replay() -> AsyncIterator[str]:
    runner, port, _ = await recorded.replay_module().serve(recorded.FOLDER / "interactions")
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await runner.cleanup()
