"""`/api/v1/usage`: what a tenant used, by the parameters of `orchestify usage`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Query, Response
from pydantic import ConfigDict, Field

from orchestify.errors import ConfigError, InvalidParameterError, MissingExtraError
from orchestify.ledger.axes import axes_in_words
from orchestify.report import DataFormatName
from orchestify.report.formats import FORMATS
from orchestify.report.rows import shortened
from orchestify.report.times import parse_time
from orchestify.server.api.fields import ResponseBody
from orchestify.server.api.routing import CurrentPrincipal, CurrentService, GuardedRoute, needs
from orchestify.server.service import Service


class UsageSums(ResponseBody):
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
    possible_usd: str = Field(
        description="What attempts of unknown cost may have cost at most, beside the cost",
        examples=["0"],
    )
    cached: int = Field(description="Answers of the response cache, which are no calls")
    saved_usd: str = Field(description="What these had cost", examples=["0"])


class UsageRow(UsageSums):
    """The sums of one value of each axis; the axes stand beside them by name."""

    model_config = ConfigDict(extra="allow")


class UsageResponse(ResponseBody):
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


router = APIRouter(prefix="/api/v1/usage", tags=["usage"], route_class=GuardedRoute)

_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_Axis: TypeAlias = Annotated[str, Query(max_length=200, pattern=_PLAIN)]
_Filter: TypeAlias = Annotated[str, Query(max_length=500, pattern=_PLAIN)]
_AXES = axes_in_words("KEY", without=("tenant",))
_LIMITS = "How many rows at most, the dearest; `rows_left` counts the others"
Time: TypeAlias = Annotated[
    str | None,
    Query(
        max_length=40,
        description="24h or 30m ago; 7d or 2w, from midnight UTC; a date; a time in ISO 8601",
        examples=["7d"],
    ),
]


@dataclass(frozen=True, slots=True)
class Selected:
    """What of the ledger is asked for; `by` is empty where nothing is said."""

    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    where: Mapping[str, str]
    limit: int = 1_000

    def within(self, axis: str, value: str, by: tuple[str, ...]) -> Selected:
        """Return the same of one value of an axis; `by` stands in where nothing is said.

        Raises:
            InvalidParameterError: the selection names another value of it.
        """
        if self.where.get(axis, value) != value:
            raise InvalidParameterError(f"query.where: this report is of one {axis} already")
        return replace(self, by=self.by or by, where={**self.where, axis: value})


def _selected(
    by: Annotated[
        list[_Axis],
        Query(
            max_length=8, description=f"{axes_in_words('KEY', without=('tenant',))}; several times"
        ),
    ] = [],  # noqa: B006 - FastAPI copies it
    since: Time = None,
    until: Time = None,
    where: Annotated[
        list[_Filter],
        Query(max_length=16, description="AXIS=VALUE, as agent=reviewer; several times"),
    ] = [],  # noqa: B006 - as above
    limit: Annotated[int, Query(ge=1, le=10_000, description=_LIMITS)] = 1_000,
) -> Selected:
    """Read the parameters of a report.

    Raises:
        ConfigError: a time or a filter that cannot be read.
    """
    filters = dict(text.split("=", 1) for text in where if "=" in text)
    if len(filters) < len(where):
        raise ConfigError("query.where: expected AXIS=VALUE, each axis once")
    return Selected(
        tuple(dict.fromkeys(by)),
        None if since is None else moment_of("since", since),
        None if until is None else moment_of("until", until),
        filters,
        limit,
    )


def moment_of(name: str, text: str) -> datetime:
    """Read a time in the query.

    Raises:
        ConfigError: it is none.
    """
    try:
        return parse_time(text, datetime.now(UTC))
    except InvalidParameterError:
        problem = f"query.{name}: no time; write 24h (ago), 7d, 2026-01-31 or ISO 8601"
        raise ConfigError(problem) from None


Selection: TypeAlias = Annotated[Selected, Depends(_selected)]
Format: TypeAlias = Annotated[DataFormatName, Query(alias="format")]

_OTHERS = {
    "text/csv": {"schema": {"type": "string"}, "example": "provider,calls,..."},
    "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
}
_ROWS_LEFT = "x-orchestify-rows-left"
_HEADERS = {
    _ROWS_LEFT: {
        "description": "How many rows were left out, as tables have no place to say it",
        "schema": {"type": "integer"},
    }
}


def gives(model: type[UsageResponse], *statuses: int) -> dict[str, Any]:
    """Return how a route is declared that answers with a report, in each format."""
    declared = needs("read", *statuses)
    declared["responses"][200] = {"model": model, "content": _OTHERS, "headers": _HEADERS}
    return {**declared, "response_model": None}


@router.get("", **gives(UsageResponse))
async def get_usage(
    principal: CurrentPrincipal,
    service: CurrentService,
    selection: Selection,
    format_: Format = "json",
) -> Response:
    """Return the tenant's usage, by provider where nothing else is asked for."""
    return await answer(service, principal.tenant_id, selection, format_)


async def answer(
    service: Service, tenant: str, selection: Selected, format_: DataFormatName
) -> Response:
    """Return a tenant's report in a format.

    Raises:
        InvalidParameterError: an axis that does not exist, times that the ledger cannot cut, or a
            format that is not installed.
        LedgerError: the database could not be read.
    """
    found = FORMATS[format_]
    report = await service.ledger.for_tenant(tenant).usage(
        found.axes(selection.by, "provider"),
        since=selection.since,
        until=selection.until,
        where=selection.where,
    )
    report = shortened(report, selection.limit)
    headers = {_ROWS_LEFT: str(report.rows_left)}
    try:
        written = found.write(report)
    except MissingExtraError:
        raise InvalidParameterError(f"query.format: {format_} is not installed here") from None
    return Response(written, headers=headers, media_type=found.media_type)
