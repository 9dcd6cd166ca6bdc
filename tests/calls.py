"""What the call path's tests share: a scripted provider, a ledger that remembers, a bench."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias, cast

from orchestify.calls.request import Defaults
from orchestify.calls.route import Route
from orchestify.calls.runtime import Runtime
from orchestify.calls.target import Target
from orchestify.ledger.budgets.memory_store import MemoryStore
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.ledger.memory import MemoryLedger
from orchestify.ledger.record import Record
from orchestify.models.price_book import PriceBook, configured_price
from orchestify.policy.budget import Budget
from orchestify.providers.base import LLMProvider
from orchestify.providers.routed import RoutedProvider
from orchestify.values import (
    CompletionRequest,
    LLMResponse,
    StreamEnd,
    StreamEvent,
    TextDelta,
    Usage,
)
from tests.clock import ManualClock

HANG = "(hang)"
"""A step that never ends by itself."""

Step: TypeAlias = str | BaseException | LLMResponse | Sequence[Any]
"""A text or a response to answer, an error to raise, HANG; for a stream also a list of events,
errors and HANG, in order."""

PRICE = configured_price({"input_usd_per_mtok": 1000, "output_usd_per_mtok": 1000})
"""A tenth of a cent a token, so that sums are easy to read."""


USED = Usage(10, 2)


def answer(text: str = "yes", usage: Usage | None = USED, **more: Any) -> LLMResponse:
    """An answer of 10 tokens in and 2 out."""
    counts = (usage.input_tokens, usage.output_tokens) if usage else (0, 0)
    return LLMResponse(text, "m", *counts, "stop", usage=usage, **more)


class Scripted(LLMProvider):
    """Does what its steps say, one for each request; the last one repeats."""

    provider_type = "scripted"

    def __init__(self, provider_id: str = "one", *steps: Step) -> None:
        self.provider_id = provider_id
        self.steps = steps or ("yes",)
        self.sent: list[CompletionRequest] = []
        self.closed_streams = 0
        self.is_hanging = asyncio.Event()

    async def send(self, request: CompletionRequest) -> LLMResponse:
        step = self._next(request)
        if step == HANG:
            await self._hang()
        if isinstance(step, BaseException):
            raise step
        return step if isinstance(step, LLMResponse) else answer(str(step))

    async def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        step = self._next(request)
        try:
            for item in step if isinstance(step, list) else [step]:
                if item == HANG:
                    await self._hang()
                if isinstance(item, BaseException):
                    raise item
                for event in events_of(item) if isinstance(item, str) else [item]:
                    yield event
        finally:
            self.closed_streams += 1

    def _next(self, request: CompletionRequest) -> Any:
        self.sent.append(request)
        return self.steps[min(len(self.sent), len(self.steps)) - 1]

    async def _hang(self) -> None:
        self.is_hanging.set()
        await asyncio.Event().wait()


def events_of(text: str) -> list[StreamEvent]:
    """A whole stream that says the words of a text."""
    return [*(TextDelta(word) for word in text.split()), StreamEnd(answer(text))]


class RecordingLedger(MemoryLedger):
    """A ledger in memory that keeps the records."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[Record] = []
        self.completed: list[Record] = []

    async def open(self, record: Record) -> None:
        self.opened.append(record)
        await super().open(record)

    def complete(self, record: Record) -> None:
        self.completed.append(record)
        super().complete(record)

    @property
    def outcomes(self) -> list[tuple[str, str, str]]:
        """Provider, outcome and error of each completed record."""
        return [(each.provider, each.outcome, each.error) for each in self.completed]


def routed(route: Route) -> RoutedProvider:
    """A provider over a route whose first lane is a scripted provider."""
    return RoutedProvider(route, cast("LLMProvider", route.targets[0].lane))


@dataclass
class Bench:
    """A runtime with a clock moved by hand and naps that take no time, and routes over it."""

    budgets: tuple[Budget, ...] = ()
    chance: float = 0.5
    clock: ManualClock = field(default_factory=ManualClock)
    ledger: RecordingLedger = field(default_factory=RecordingLedger)
    naps: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.book = BudgetBook(
            MemoryStore(self.clock.utc), clock=self.clock, call_later=self.clock.call_later
        )
        self.runtime = Runtime(
            ledger=self.ledger,
            prices=PriceBook({"one": PRICE, "two": PRICE}, use_genai=False),
            budgets=self.budgets,
            book=self.book,
            clock=self.clock,
            sleep=self.nap,
            chance=lambda: self.chance,
            estimates=bool(self.budgets),
        )

    async def nap(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.naps.append(seconds)
        self.clock.advance(seconds)

    def target(self, provider: LLMProvider, model: str = "m", **more: Any) -> Target:
        """A provider as a target; it answers with 100 tokens at most."""
        return Target(
            provider,
            provider.provider_id,
            model,
            provider.provider_type,
            **{"defaults": Defaults(max_tokens=100), **more},
        )

    def route(self, *providers: LLMProvider | Target, **more: Any) -> RoutedProvider:
        """A provider over providers or targets, in this order."""
        targets = [each if isinstance(each, Target) else self.target(each) for each in providers]
        return routed(Route(self.runtime, targets, **more))

    def spent(self, name: str) -> tuple[Decimal, Decimal]:
        """What is spent and held of a budget, in USD."""
        budget = next(each for each in self.budgets if each.name == name)
        state = self.book.state(budget)
        return state.spent_usd, state.held_usd
