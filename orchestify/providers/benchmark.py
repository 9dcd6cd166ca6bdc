"""A benchmark of one provider: the same short answer streamed some times, one after another."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import median, quantiles
from typing import NamedTuple

from orchestify.errors import BudgetExceededError, OrchestifyError
from orchestify.providers.base import LLMProvider
from orchestify.values import TextDelta, ThinkingDelta, ToolCallDelta

TIMEOUT_S = 60.0  # of each call
MAX_TOKENS = 256

_OUTPUT = (TextDelta, ThinkingDelta, ToolCallDelta)
_PROMPT = "Write the numbers from 1 to 50 in words, with a comma between them, and nothing else."


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What calls took, at one provider and model; figures are of those that were answered.

    `errors` counts the others by class. `first_output_...` is the time until the first piece,
    thinking included; `tokens_per_s` the median of a call's output tokens over its whole time. A
    figure is None where no call was answered, `cost_usd` where no call's price is known; it
    leaves out the `unpriced_calls`.
    """

    calls: int
    errors: Mapping[str, int]
    latency_p50_s: float | None
    latency_p95_s: float | None
    first_output_p50_s: float | None
    first_output_p95_s: float | None
    tokens_per_s: float | None
    output_tokens: int
    cost_usd: Decimal | None
    unpriced_calls: int


async def benchmark(provider: LLMProvider, calls: int) -> Benchmark:
    """Stream `calls` answers, each in one attempt; every call is booked.

    A spent budget ends it: the calls that are left are not made.
    """
    timings: list[_Timing] = []
    errors: Counter[str] = Counter()
    for _ in range(calls):
        try:
            async with asyncio.timeout(TIMEOUT_S):
                timings.append(await _timed(provider))
        except BudgetExceededError as error:
            errors[type(error).__name__] += 1
            break
        except (OrchestifyError, TimeoutError) as error:
            errors[type(error).__name__] += 1
    costs = [each.cost_usd for each in timings if each.cost_usd is not None]
    latencies = [each.latency_s for each in timings]
    firsts = [each.first_output_s for each in timings]
    rates = [each.output_tokens / each.latency_s for each in timings]
    return Benchmark(
        calls=len(timings) + errors.total(),
        errors=dict(errors),
        latency_p50_s=median(latencies) if latencies else None,
        latency_p95_s=_p95(latencies),
        first_output_p50_s=median(firsts) if firsts else None,
        first_output_p95_s=_p95(firsts),
        tokens_per_s=median(rates) if rates else None,
        output_tokens=sum(each.output_tokens for each in timings),
        cost_usd=sum(costs, Decimal(0)) if costs else None,
        unpriced_calls=len(timings) - len(costs),
    )


class _Timing(NamedTuple):
    latency_s: float
    first_output_s: float
    output_tokens: int
    cost_usd: Decimal | None


async def _timed(provider: LLMProvider) -> _Timing:
    started = time.perf_counter()
    first_at: float | None = None
    async with provider.stream(
        _PROMPT, max_tokens=MAX_TOKENS, max_attempts=1, response_cache=False
    ) as stream:
        async for event in stream.events():
            if first_at is None and isinstance(event, _OUTPUT):
                first_at = time.perf_counter()
    ended = time.perf_counter()
    response = stream.response
    return _Timing(
        ended - started, (first_at or ended) - started, response.tokens_output, response.cost_usd
    )


def _p95(values: Sequence[float]) -> float | None:
    """Return what 95 % of the values lie below, linear between neighbours."""
    if len(values) < 2:
        return values[0] if values else None
    return quantiles(values, n=20, method="inclusive")[18]
