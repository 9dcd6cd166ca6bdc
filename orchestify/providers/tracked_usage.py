"""What a host's own provider tells of a call while it runs: `LLMProvider._track_usage`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from decimal import Decimal

from orchestify.lanes.answers import checked_usage
from orchestify.values import UNKNOWN_USAGE, LLMResponse, Usage, believed_usd


@dataclass(slots=True)
class TrackedUsage:
    """What one call's provider, an object of `provider`'s identity, has told of its usage."""

    provider: object
    usage: Usage = UNKNOWN_USAGE
    cost_usd: Decimal | None = None

    def add(self, input_tokens: int, output_tokens: int, cost_usd: float | Decimal | None) -> None:
        """Add what a part of the call used."""
        told = checked_usage(Usage(input_tokens, output_tokens))
        self.usage = Usage(
            self.usage.input_tokens + told.input_tokens,
            self.usage.output_tokens + told.output_tokens,
            invalid=tuple({*self.usage.invalid, *told.invalid}),
        )
        usd = believed_usd(cost_usd)
        if usd is not None:
            self.cost_usd = usd + (self.cost_usd or Decimal(0))

    def fill(self, response: LLMResponse) -> LLMResponse:
        """Return an answer with what was told where it does not say itself what it used."""
        said = response.usage not in (None, UNKNOWN_USAGE)  # a host's own class may say None
        is_said = said or response.tokens_input or response.tokens_output
        if not is_said and self.usage is not UNKNOWN_USAGE:
            response = replace(response, usage=self.usage)
        if response.cost_usd is None and self.cost_usd is not None:
            response = replace(response, cost_usd=self.cost_usd)
        return response


_current: ContextVar[TrackedUsage | None] = ContextVar("orchestify_tracked_usage", default=None)


@contextmanager
def tracking(tracked: TrackedUsage) -> Iterator[None]:
    """Let what the provider tells inside the block count for its call."""
    token = _current.set(tracked)
    try:
        yield
    finally:
        _current.reset(token)


def tracked_by(provider: object) -> TrackedUsage | None:
    """Return what the provider's present call tells, None where none of its calls runs here."""
    tracked = _current.get()
    return tracked if tracked is not None and tracked.provider is provider else None
