"""The record of one attempt, and the labels that a scope puts on it."""

from __future__ import annotations

import contextvars
import json
import logging
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypeAlias

from orchestify.errors import InvalidParameterError
from orchestify.models.pricing import Cost, PriceSource
from orchestify.policy.budget import Budget, RunBudget
from orchestify.values import UNKNOWN_USAGE, Usage

Outcome: TypeAlias = Literal["open", "ok", "failed", "cancelled", "interrupted", "cached"]

_log = logging.getLogger("orchestify.ledger")

UNUSABLE = "InvalidResponseError"
"""The `error` of an attempt whose answer came and could not be used."""

SCOPE_BUDGET = "scope"
"""The name of a budget that a scope was given."""

NO_LABELS: Mapping[str, str] = {}
_ids = random.Random()  # noqa: S311  # ids are no secrets; the host may have seeded the module's
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.seed)


class Scope(NamedTuple):
    """What holds for the calls of a context: their labels, and budgets beside those configured."""

    labels: Mapping[str, str] = NO_LABELS
    budgets: tuple[Budget, ...] = ()


_NO_SCOPE = Scope()
SCOPE: contextvars.ContextVar[Scope] = contextvars.ContextVar("orchestify_scope", default=_NO_SCOPE)
"""The scopes in force, merged into one; only `in_scope` sets it."""


@dataclass(slots=True, kw_only=True)  # not frozen: that would cost a call 3 µs
class Record:
    """One attempt at one target. It is not changed once it is made; `completed` makes another.

    Only its `tenant` is set by the ledger that it is put in, where that is a tenant's.

    Opened before anything is sent (`outcome` is `open`) and completed after it. `model` is the
    one asked for, `model_answered` the one that answered ("" where none did). `cost_usd` is
    None where nobody knows the price; `cost_at_most_usd` is the attempt's worst case, 0 where it
    was refused or never sent, None where that has no price. `assumed_price` says that the price was
    found by the model's name alone. `key` is the fingerprint of the key it went out with. One that
    was `cached` was answered by the response cache: nothing was sent or used, and `saved_usd` is
    what the kept answer had cost, None where nobody knows. Times:
    `started_at` is UTC, `latency_s` and `first_chunk_s` are seconds since then.
    """

    id: str
    call_id: str
    attempt: int = 1
    started_at: datetime
    provider: str
    agent: str = ""
    model: str
    model_answered: str = ""
    outcome: Outcome = "open"
    usage: Usage = UNKNOWN_USAGE
    cost_usd: Decimal | None = None
    cost_source: PriceSource = "none"
    price_date: date | None = None
    assumed_price: bool = False
    cost_at_most_usd: Decimal | None = None
    latency_s: float | None = None
    first_chunk_s: float | None = None
    error: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    tenant: str = ""
    key: str = ""
    saved_usd: Decimal | None = None

    @property
    def day(self) -> str:
        """The UTC day it started on, as `2026-01-31`."""
        return self.started_at.date().isoformat()

    def completed(
        self,
        outcome: Outcome,
        *,
        usage: Usage,
        model_answered: str,
        cost: Cost,
        cost_at_most_usd: Decimal | None,
        latency_s: float,
        first_chunk_s: float | None,
        error: str,
    ) -> Record:
        """Return the record as it is once the attempt has ended."""
        return Record(
            id=self.id,
            call_id=self.call_id,
            attempt=self.attempt,
            started_at=self.started_at,
            provider=self.provider,
            agent=self.agent,
            model=self.model,
            model_answered=model_answered,
            outcome=outcome,
            usage=usage,
            cost_usd=cost.usd,
            cost_source=cost.source,
            price_date=cost.priced_at,
            assumed_price=cost.assumed,
            cost_at_most_usd=cost_at_most_usd,
            latency_s=latency_s,
            first_chunk_s=first_chunk_s,
            error=error,
            labels=self.labels,
            tenant=self.tenant,
            key=self.key,
        )

    @property
    def unpriced(self) -> bool:
        """Whether tokens may have been used that nobody can price.

        They were where an answer came, also where it could not be used.
        """
        came = self.outcome == "ok" or self.error == UNUSABLE
        return self.cost_usd is None and (came or self.usage.total_tokens > 0)

    @property
    def possible_usd(self) -> Decimal:
        """What an attempt without an answer, whose cost nobody knows, may have cost at most."""
        if self.cost_usd is not None or self.outcome in {"ok", "open"}:
            return Decimal(0)
        return self.cost_at_most_usd or Decimal(0)


def unsent(record: Record) -> Record:
    """Return the record of an attempt that was cancelled before anything of it was sent."""
    return replace(
        record,
        outcome="cancelled",
        usage=Usage(),
        cost_usd=Decimal(0),
        cost_at_most_usd=Decimal(0),
        latency_s=0.0,
    )


def repaired(record: Record) -> Record:
    """Return the record with a neutral value in place of each whose type is wrong.

    A record is checked where its answer comes in; this is for one that got through all the
    same, which must stop neither its own booking nor that of others. What is wrong is logged.
    """
    wrong = [name for name, types in _TYPES.items() if not _is_one(getattr(record, name), types)]
    usage, labels = _sound_usage(record.usage), _sound_labels(record.labels)
    wrong += ["usage"] if usage is not record.usage else []
    wrong += ["labels"] if labels is not record.labels else []
    if not wrong:
        return record
    _log.error("a record had values of a wrong type, and was booked without: %s", ", ".join(wrong))
    plain: dict[str, Any] = {name: _STAND_INS.get(name) for name in wrong}
    if "id" in wrong:
        plain["id"] = new_id()
    if "started_at" in wrong:
        plain["started_at"] = utc_now()
    return replace(record, **(plain | {"usage": usage, "labels": labels}))


def new_id() -> str:
    """Return a new id of 32 hexadecimal digits that sorts by time (as UUID version 7 does).

    Source: RFC 9562, section 5.7 (48 bits of milliseconds, then randomness).
    """
    return f"{time.time_ns() // 1_000_000:012x}{_ids.getrandbits(80):020x}"


def utc_now() -> datetime:
    """Return the present in UTC."""
    return datetime.now(UTC)


def scope(*, budget: RunBudget | None = None, **labels: str | int) -> AbstractContextManager[None]:
    """Label every call made inside, across tasks and the threads they start with a context.

    A stream has the scope in which it was made, wherever it is read; a coroutine has the one in
    which it is awaited or made a task.

    Nested scopes merge, the inner one wins: `with scope(run="r1"), scope(task="t7"): ...`.
    A `budget` holds for all calls with the labels that are then in force, in every process that
    gives such a scope a budget, beside those of the configuration and of outer scopes.

    Raises:
        InvalidParameterError: a label that is no short text (at most 200 characters), or a
            budget where no label says whose it is.
    """
    return labelled(labels, budget)


@contextmanager
def labelled(labels: Mapping[str, str | int], budget: RunBudget | None = None) -> Iterator[None]:
    """Do as `scope` does, with labels of any name."""
    outer = SCOPE.get()
    merged = {**outer.labels, **{k: _label(k, v) for k, v in labels.items()}}
    budgets = outer.budgets
    if budget is not None:
        if not isinstance(budget, RunBudget):
            raise InvalidParameterError("budget of a scope is a RunBudget")
        if not merged:
            raise InvalidParameterError(
                "a budget of a scope needs a label that says whose it is: "
                'scope(run="r1", budget=RunBudget(usd=2))'
            )
        value = json.dumps(merged, sort_keys=True)
        budgets = (*budgets, budget.named(SCOPE_BUDGET, value))
    with in_scope(Scope(merged, budgets)):
        yield


@contextmanager
def in_scope(scope: Scope) -> Iterator[None]:
    """Let a scope that was kept be the one in force."""
    token = SCOPE.set(scope)
    try:
        yield
    finally:
        SCOPE.reset(token)


def current_labels() -> Mapping[str, str]:
    """Return the labels of the scopes in force; do not change what it returns."""
    return SCOPE.get().labels


_NONE = type(None)
_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "call_id", "provider", "agent", "model", "model_answered"), (str,)),
    **dict.fromkeys(("outcome", "cost_source", "error", "tenant", "key"), (str,)),
    **dict.fromkeys(("cost_usd", "cost_at_most_usd", "saved_usd"), (Decimal, _NONE)),
    **dict.fromkeys(("latency_s", "first_chunk_s"), (float, int, _NONE)),
    "attempt": (int,),
    "started_at": (datetime,),
    "price_date": (date, datetime, _NONE),
    "assumed_price": (bool,),
}
_STAND_INS: Mapping[str, Any] = {
    **dict.fromkeys(("call_id", "provider", "agent", "model", "model_answered"), ""),
    "error": "",
    "tenant": "",
    "key": "",
    "cost_source": "none",
    "outcome": "failed",
    "attempt": 1,
    "assumed_price": False,
}
_USAGE_TYPES: Mapping[str, tuple[type, ...]] = {
    each.name: (type(each.default),) for each in fields(Usage) if each.name != "service_tier"
} | {"service_tier": (str, _NONE)}


def _is_one(value: object, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and (type(value) is not bool or bool in types)


def _sound_usage(usage: Usage) -> Usage:
    if not isinstance(usage, Usage):
        return UNKNOWN_USAGE
    wrong = [
        name for name, types in _USAGE_TYPES.items() if not _is_one(getattr(usage, name), types)
    ]
    if "invalid" not in wrong and not all(isinstance(each, str) for each in usage.invalid):
        wrong.append("invalid")
    if not wrong:
        return usage
    default = Usage()
    stand_ins: dict[str, Any] = {name: getattr(default, name) for name in wrong}
    return replace(usage, **stand_ins)


def _sound_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(labels, Mapping):
        return NO_LABELS
    if all(isinstance(each, str) for pair in labels.items() for each in pair):
        return labels
    return {str(key): str(value) for key, value in labels.items()}


def _label(key: str, value: str | int) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or len(str(value)) > 200:
        raise InvalidParameterError(
            f"the label {key!r} is a text or a number of at most 200 characters"
        )
    return str(value)
