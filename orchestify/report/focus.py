"""A report as FOCUS, the FinOps Foundation's form of bills: a CSV that finance's tools read.

Source: FinOps Open Cost and Usage Specification 1.2, its columns and attributes
(https://focus.finops.org/focus-specification/v1-2/).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from types import MappingProxyType

from orchestify.errors import InvalidParameterError
from orchestify.ledger.axes import is_label, label_key
from orchestify.ledger.base import UsageReport, UsageRow
from orchestify.ledger.memory import Total
from orchestify.report.data import Cell, csv_text, write_exact

BY = ("day", "provider", "model")
"""The axes that a charge needs; others become its tags, and the tenant its sub account."""

CURRENCY = "USD"
UNIT = "Tokens"
TAG_PREFIX = "orchestify/"
"""Before the tags that are no host's labels, as the specification wants it of a provider's own."""

_SAME: Mapping[str, Cell] = MappingProxyType(
    {
        "BillingAccountName": None,
        "BillingCurrency": CURRENCY,
        "ChargeCategory": "Usage",
        "ChargeClass": None,  # no row corrects an earlier one
        "ChargeFrequency": "Usage-Based",
        "ConsumedUnit": UNIT,
        "PricingCategory": "Standard",
        "PricingUnit": UNIT,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Model inference",
        "ServiceSubcategory": "Generative AI",
        "SkuMeter": UNIT,
    }
)
_COSTS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
_PROVIDER = ("BillingAccountId", "InvoiceIssuerName", "ProviderName", "PublisherName")
_OWN = (
    *("x_Calls", "x_InputTokens", "x_OutputTokens", "x_CacheReadTokens", "x_CacheWriteTokens"),
    *("x_EstimatedCost", "x_UnpricedCalls"),
)
COLUMNS = (
    *sorted(
        {
            *(*_SAME, *_COSTS, *_PROVIDER, "BillingPeriodEnd", "BillingPeriodStart"),
            *("ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity"),
            *("PricingQuantity", "SkuId", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags"),
        }
    ),
    *_OWN,
)
"""The columns, the specification's in alphabetical order, then our own, which begin with `x_`."""


def usage_focus(report: UsageReport) -> str:
    """Return a report by day, provider, model and more as a FOCUS dataset, a row a charge.

    A charge is what a model cost on a day. What has neither tokens nor a cost is none. Calls
    without a known price are in the tokens and not in the costs; `x_UnpricedCalls` counts them.

    Raises:
        InvalidParameterError: one of these axes is not among the report's.
    """
    lacking = [axis for axis in BY if axis not in report.by]
    if lacking:
        raise InvalidParameterError(f"FOCUS has charges by day: report by {', '.join(BY)} as well")
    return csv_text(COLUMNS, _lines(report))


def _lines(report: UsageReport) -> Iterator[Sequence[Cell]]:
    for row in report.rows:
        total = row.total
        if total.total_tokens or total.cost_usd or total.unpriced_calls:
            charge = _charge(report.by, row)
            yield [charge[name] for name in COLUMNS]


def _charge(by: tuple[str, ...], row: UsageRow) -> dict[str, Cell]:
    values = dict(zip(by, row.key, strict=True))
    total, provider, model = row.total, values["provider"], values["model"]
    day = date.fromisoformat(values["day"])
    month = day.replace(day=1)
    tenant = values.get("tenant") or None
    return {
        **_SAME,
        **dict.fromkeys(_COSTS, write_exact(total.cost_usd)),
        **dict.fromkeys(_PROVIDER, provider),
        "BillingPeriodStart": _midnight(month),
        "BillingPeriodEnd": _midnight((month + timedelta(days=31)).replace(day=1)),
        "ChargePeriodStart": _midnight(day),
        "ChargePeriodEnd": _midnight(day + timedelta(days=1)),
        "ChargeDescription": f"Tokens of {model} at {provider}",
        "ConsumedQuantity": total.total_tokens,
        "PricingQuantity": total.total_tokens,
        "SkuId": model,
        "SkuPriceId": model,
        "SubAccountId": tenant,
        "SubAccountName": tenant,
        "Tags": _tags(values),
        **_own(total),
    }


def _own(total: Total) -> dict[str, Cell]:
    counts = (total.calls, total.input_tokens, total.output_tokens)
    cached = (total.cache_read, total.cache_write)
    estimated: Decimal = total.estimated_cost_usd
    values = (*counts, *cached, write_exact(estimated), total.unpriced_calls)
    return dict(zip(_OWN, values, strict=True))


def _tags(values: Mapping[str, str]) -> str | None:
    """Return what else the report is by as a JSON object, None where that is nothing."""
    tags = {
        label_key(axis) if is_label(axis) else f"{TAG_PREFIX}{axis}": value
        for axis, value in values.items()
        if value and axis not in (*BY, "tenant")
    }
    return json.dumps(tags, ensure_ascii=False, sort_keys=True) if tags else None


def _midnight(day: date) -> str:
    """Return the moment at which a day begins in UTC, in ISO 8601."""
    return f"{day.isoformat()}T00:00:00Z"
