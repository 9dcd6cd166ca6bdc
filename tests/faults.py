"""What a fault suite shares: one call over one lane, and all that is to be seen of it."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestify import APIError, LLMResponse, StreamInterruptedError, TextDelta
from orchestify.calls.request import Defaults
from orchestify.calls.route import Route
from orchestify.calls.runtime import Runtime
from orchestify.calls.target import Target
from orchestify.core.providers import ProviderConfig
from orchestify.ledger.record import Record
from orchestify.models.price_book import PriceBook, configured_price
from orchestify.policy.breaker import BreakerSettings
from orchestify.policy.retry import RetryPolicy
from orchestify.providers.building import provider_of
from orchestify.providers.routed import RoutedProvider
from tests.calls import RecordingLedger
from tests.lanes import KEY, Lane, close_litellms_clients

Way = Literal["complete", "stream"]

WAYS: tuple[Way, ...] = ("complete", "stream")

PRICE = configured_price({"input_usd_per_mtok": 1, "output_usd_per_mtok": 1})


@dataclass
class Lab:
    """One target over one lane, its ledger and its runtime."""

    route: RoutedProvider
    runtime: Runtime
    ledger: RecordingLedger = field(repr=False)

    @property
    def target(self) -> Target:
        """The only target."""
        return self.route.route.targets[0]

    async def ask(self, way: Way, **arguments: Any) -> Seen:
        """Make one call and return what is to be seen of it."""
        before = len(self.ledger.completed)
        text, error, response = "", None, None
        try:
            if way == "complete":
                response = await self.route.complete("hi", **arguments)
                text = response.content
            else:
                stream = self.route.stream("hi", **arguments)
                async for event in stream.events():
                    text += event.text if isinstance(event, TextDelta) else ""
                response = stream.response
        except APIError as caught:
            error = caught
        return Seen(text, error, response, self.ledger.completed[before:])


@dataclass(frozen=True)
class Seen:
    """What a caller saw and what was booked."""

    text: str
    error: APIError | None
    response: LLMResponse | None
    records: list[Record]

    @property
    def raised(self) -> str:
        """The error's class and status, and whether it may pass and may be billed."""
        error = self.error
        if error is None:
            return "nothing"
        notes = [str(error.status)] if error.status else []
        notes += ["retryable"] if error.retryable else []
        notes += ["may be billed"] if error.may_be_billed else []
        if isinstance(error, StreamInterruptedError):
            notes.append(f"text {error.text!r}")
        return ", ".join([type(error).__name__, *notes])

    @property
    def booked(self) -> str:
        """Outcome, source of usage, and tokens where they are not ours, of each record."""
        return "; ".join(map(_booked, self.records))


def _booked(record: Record) -> str:
    usage = record.usage
    if usage.source == "estimated":
        return f"{record.outcome} estimated"
    return f"{record.outcome} {usage.input_tokens}+{usage.output_tokens} {usage.source}"


@asynccontextmanager
async def lab(
    lane: Lane, base_url: str, *, max_attempts: int = 1, **times: float
) -> AsyncIterator[Lab]:
    """Open a target over a lane, whose circuit opens late; `times` are its timeouts."""
    settings: Mapping[str, Any] = {**lane.settings, "base_url": base_url, "api_key": KEY}
    provider = provider_of("it", ProviderConfig.model_validate(settings))
    ledger = RecordingLedger()
    runtime = Runtime(ledger=ledger, prices=PriceBook({"it": PRICE}, use_genai=False))
    target = Target(
        provider.lane,
        "it",
        lane.model,
        provider.provider_type,
        defaults=Defaults(max_tokens=100, **times),
        retry=RetryPolicy(max_attempts, 0.001, 0.002),
        breaker=BreakerSettings(failures=1000),
    )
    try:
        yield Lab(RoutedProvider(Route(runtime, [target]), provider), runtime, ledger)
    finally:
        await provider.aclose()
        await close_litellms_clients()
        if not lane.is_direct:
            with warnings.catch_warnings(action="ignore", category=ResourceWarning):
                gc.collect(1)
