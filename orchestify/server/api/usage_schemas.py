"""What the reports of usage give: the JSON of `orchestify usage --format json`."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from orchestify.server.api.fields import Answer


class UsageSums(Answer):
    """Sums over attempts; money is text, so that it stays exact, without what is unpriced.

    It is null where no call has a price.
    """

    calls: int = Field(description="Those that were answered")
    attempts: int = Field(
        description="A retry and a fallback count themselves; the view's `request_count`"
    )
    failed: int
    cancelled: int
    interrupted: int
    unpriced_calls: int
    estimated_calls: int
    invalid_usage: int
    input_tokens: int
    output_tokens: int
    cache_read: int
    cache_write: int
    reasoning: int
    cost_usd: str | None = Field(examples=["0.0123"])
    estimated_cost_usd: str | None = Field(examples=["0"])
    latency_s: float


class UsageRow(UsageSums):
    """The sums of one value of each axis; the axes stand beside them by name."""

    model_config = ConfigDict(extra="allow")


class UsageResponse(Answer):
    """Usage by the axes asked for; `behind` counts records on their way to the database."""

    by: list[str] = Field(examples=[["provider"]])
    since: str | None
    until: str | None
    where: dict[str, str]
    rows: list[UsageRow] = Field(
        description="In the order of their keys; the dearest, where there are more than `limit`"
    )
    rows_left: int = Field(description="How many rows were left out; `total` has them all")
    total: UsageSums
    unpriced: dict[str, int] = Field(
        description="Calls of each model without a price; beyond `limit` models, of all as `other`"
    )
    estimated_cost_share: float | None
    cache_hit_share: float | None
    behind: int
    open: int


class ProviderUsageResponse(UsageResponse):
    """The usage of one provider, by day and model where nothing else is asked for."""
