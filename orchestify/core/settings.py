"""What stands at the top of a configuration only: budgets, ledger, alerts, defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from orchestify.core.fields import Count, Model, Positive, Seconds, Share, Text, Usd
from orchestify.core.policies import Policies


class BudgetMatch(Model):
    """The calls that a budget counts: those that have all that is written here."""

    provider: Text | None = None
    agent: Text | None = None
    model: Text | None = None
    label: dict[str, str] = Field(default_factory=dict, description="Labels of a scope")


class BudgetConfig(Model):
    """A limit on money; periods are calendar, UTC. Without `match` it counts every call."""

    name: Text
    match: BudgetMatch = BudgetMatch()
    limit_usd: Usd
    period: Literal["minute", "hour", "day", "month", "ever"]
    mode: Literal["hard", "warn"] = Field(default="hard", description="hard: refuses calls")
    alert_at: tuple[Positive, ...] = Field(default=(), description="Shares of the limit, as 0.8")
    on_unpriced: Literal["block", "warn", "allow"] = Field(
        default="block", description="What to do with a call whose price nobody knows"
    )


def _known_database(url: SecretStr) -> SecretStr:
    scheme = url.get_secret_value().partition("://")[0].partition("+")[0]
    if scheme not in {"sqlite", "postgresql", "postgres"}:
        raise ValueError("expected sqlite:///path or postgresql://host/database")
    return url


class LedgerConfig(Model):
    """Where usage is booked; in memory where there is no `url`.

    `url` may hold a password. A relative SQLite path has been resolved from the
    configuration's folder. `keep_days` None keeps all. What is booked with `durability: process`
    survives the process, with `power` also a power cut.
    """

    url: Annotated[SecretStr, Field(min_length=1), AfterValidator(_known_database)] | None = None
    keep_days: Count | None = None
    durability: Literal["process", "power"] = "process"


class AlertsConfig(Model):
    """When to say that something is wrong: a share of failures, a slow call, a day's cost."""

    error_rate: Share | None = Field(default=None, description="Share of failed calls, as 0.1")
    slow_s: Seconds | None = None
    daily_cost_usd: Usd | None = None


class Settings(Policies):
    """The top of a configuration: the policies, and what stands nowhere else."""

    default_provider: Text | None = Field(
        default=None, description="The provider of agents that name none"
    )
    budgets: tuple[BudgetConfig, ...] = ()
    ledger: LedgerConfig | None = None
    alerts: AlertsConfig | None = None
