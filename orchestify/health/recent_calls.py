"""The last calls of a provider or a model, and their quantiles."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Call(NamedTuple):
    """One call as health sees it: `error` is a class name, "" where it went well."""

    at: float
    error: str
    latency_s: float | None
    first_chunk_s: float | None


@dataclass(slots=True)
class Window:
    """The last `size` calls, none older than `age_s`, oldest first; counted as they come and go.

    Not thread safe. `latency_s` is the sum over the calls that went well.
    """

    size: int = 200
    age_s: float = 600.0
    calls: deque[Call] = field(default_factory=deque)
    failed: int = 0
    latency_s: float = 0.0

    def add(self, call: Call) -> None:
        """Take in a call, and let go of what no longer belongs."""
        if len(self.calls) == self.size:
            self._count(self.calls.popleft(), -1)
        self.calls.append(call)
        self._count(call, 1)
        self.age(call.at)

    def age(self, now: float) -> None:
        """Let go of what is too old at `now`."""
        calls = self.calls
        while calls and calls[0].at < now - self.age_s:
            self._count(calls.popleft(), -1)

    @property
    def error_rate(self) -> float:
        """The share of calls that failed, 0 to 1; 0 where there are none."""
        return self.failed / len(self.calls) if self.calls else 0.0

    @property
    def score(self) -> float | None:
        """The share of calls that went well, of which latency takes a tenth at most.

        One call more, a good one, is counted in, so that one failure is no verdict. None
        where there are no calls.
        """
        if not self.calls:
            return None
        well = len(self.calls) - self.failed
        speed = 1 / (1 + max(0.0, self.latency_s) / well) if well else 0.0
        return (well + 1) / (len(self.calls) + 1) * (0.9 + 0.1 * speed)

    def _count(self, call: Call, sign: int) -> None:
        if call.error:
            self.failed += sign
        else:
            self.latency_s += sign * (call.latency_s or 0.0)


def quantile(ordered: Sequence[float], percent: int) -> float | None:
    """Return what `percent` (1 to 99) of the sorted values lie below; None where there are none.

    Linear between neighbours, as `statistics.quantiles(..., n=100, method="inclusive")`.
    Source: R. Hyndman, Y. Fan, "Sample Quantiles in Statistical Packages", 1996, definition 7.
    """
    if len(ordered) < 2:
        return ordered[0] if ordered else None
    at, part = divmod(percent * (len(ordered) - 1), 100)
    return (ordered[at] * (100 - part) + ordered[at + 1] * part) / 100
