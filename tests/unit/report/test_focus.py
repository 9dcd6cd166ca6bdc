"""FOCUS against the specification's columns.

Source: FinOps Open Cost and Usage Specification 1.2: its columns with feature level, data type,
nulls and allowed values, and the attributes for numbers, times, nulls and the order of columns
(https://focus.finops.org/focus-specification/v1-2/; the rules as data: `model-1.2.json` of the
repository finopsfoundation/focus_validator).
"""

from __future__ import annotations

import csv
import io
import json
import re
from decimal import Decimal

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.ledger.base import UsageReport, UsageRow
from orchestify.ledger.memory import Total
from orchestify.report import usage_focus

MANDATORY = {
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency"),
    *("BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass"),
    *("ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost"),
    *("EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit"),
    *("ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
}
OTHERS = {
    *("AvailabilityZone", "BillingAccountType", "CapacityReservationId"),
    *("CapacityReservationStatus", "ChargeFrequency", "CommitmentDiscountCategory"),
    *("CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountQuantity"),
    *("CommitmentDiscountStatus", "CommitmentDiscountType", "CommitmentDiscountUnit"),
    *("ConsumedQuantity", "ConsumedUnit", "ContractedUnitPrice", "InvoiceId", "ListUnitPrice"),
    *("PricingCategory", "PricingCurrency", "PricingCurrencyContractedUnitPrice"),
    *("PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice", "RegionId", "RegionName"),
    *("ResourceId", "ResourceName", "ResourceType", "ServiceSubcategory", "SkuId", "SkuMeter"),
    *("SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName", "SubAccountType", "Tags"),
}
# of usage that corrects nothing; all else of what is written may be null
NEVER_NULL = MANDATORY - {"BillingAccountName", "ChargeClass"} | {
    *("ChargeFrequency", "ConsumedQuantity", "ConsumedUnit", "PricingCategory"),
    *("ServiceSubcategory", "SkuId", "SkuPriceId"),
}
DECIMALS = {
    *("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"),
    *("ConsumedQuantity", "PricingQuantity"),
}
TIMES = {"BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"}
ALLOWED = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {"", "Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "PricingCategory": {"Standard", "Dynamic", "Committed", "Other"},
    "ServiceCategory": {
        *("AI and Machine Learning", "Analytics", "Business Applications", "Compute"),
        *("Databases", "Developer Tools", "Multicloud", "Identity", "Integration"),
        *("Internet of Things", "Management and Governance", "Media", "Migration", "Mobile"),
        *("Networking", "Security", "Storage", "Web", "Other"),
    },
    "ServiceSubcategory": {
        *("Bots", "Generative AI", "Machine Learning", "Natural Language Processing"),
        "Other (AI and Machine Learning)",
    },
}
DECIMAL = re.compile(r"-?\d+(\.\d+)?")  # no exponent, no plus, no commas
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

PRICED = Total(
    calls=2,
    attempts=2,
    input_tokens=1_000,
    output_tokens=200,
    cache_read=400,
    cost_usd=Decimal("0.000000000001"),
    estimated_cost_usd=Decimal("0E-12"),
)
UNPRICED = Total(calls=1, attempts=1, input_tokens=5, output_tokens=2, unpriced_calls=1)
FAILED = Total(attempts=1, failed=1, possible_usd=Decimal(1))
KEYS = ("2026-12-31", "claude_main", "claude-sonnet-4-6", "acme", "reviewer", "r1")
REPORT = UsageReport(
    by=("day", "provider", "model", "tenant", "agent", "label:run"),
    rows=(
        UsageRow(KEYS, PRICED),
        UsageRow(("2027-02-01", "local", "llama3", "", "", ""), UNPRICED),
        UsageRow(("2027-02-02", "local", "llama3", "", "", ""), FAILED),
    ),
    total=Total(),
)


def rows_of(report: UsageReport) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns of a dataset, and its rows."""
    reader = csv.DictReader(io.StringIO(usage_focus(report)))
    rows = list(reader)
    return list(reader.fieldnames or ()), rows


@pytest.fixture(scope="module")
def columns() -> list[str]:
    return rows_of(REPORT)[0]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return rows_of(REPORT)[1]


def test_the_specifications_columns_are_known_to_this_test() -> None:
    assert (len(MANDATORY), len(MANDATORY | OTHERS)) == (21, 57)


def test_every_mandatory_column_is_there_and_each_is_the_specifications_or_begins_with_x(
    columns: list[str],
) -> None:
    named = [name for name in columns if not name.startswith("x_")]
    assert MANDATORY - set(named) == set()
    assert set(named) - MANDATORY - OTHERS == set()
    assert len(set(columns)) == len(columns)


def test_own_columns_follow_the_specifications(columns: list[str]) -> None:
    own = [name.startswith("x_") for name in columns]
    assert own == sorted(own)
    assert any(own)


@pytest.mark.parametrize("name", sorted(NEVER_NULL))
def test_what_may_not_be_null_is_not(rows: list[dict[str, str]], name: str) -> None:
    assert all(row[name] for row in rows)


@pytest.mark.parametrize("name", sorted(DECIMALS))
def test_numbers_are_plain_decimals(rows: list[dict[str, str]], name: str) -> None:
    assert all(DECIMAL.fullmatch(row[name]) for row in rows)


@pytest.mark.parametrize("name", sorted(TIMES))
def test_times_are_utc_in_iso_8601(rows: list[dict[str, str]], name: str) -> None:
    assert all(TIME.fullmatch(row[name]) for row in rows)


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_categories_are_those_allowed(rows: list[dict[str, str]], name: str) -> None:
    assert {row[name] for row in rows} - ALLOWED[name] == set()


def test_a_charge_is_a_models_cost_on_a_day(rows: list[dict[str, str]]) -> None:
    assert rows[0] == {
        "BilledCost": "0.000000000001",
        "BillingAccountId": "claude_main",
        "BillingAccountName": "",
        "BillingCurrency": "USD",
        "BillingPeriodEnd": "2027-01-01T00:00:00Z",
        "BillingPeriodStart": "2026-12-01T00:00:00Z",
        "ChargeCategory": "Usage",
        "ChargeClass": "",
        "ChargeDescription": "Tokens of claude-sonnet-4-6 at claude_main",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": "2027-01-01T00:00:00Z",
        "ChargePeriodStart": "2026-12-31T00:00:00Z",
        "ConsumedQuantity": "1200",
        "ConsumedUnit": "Tokens",
        "ContractedCost": "0.000000000001",
        "EffectiveCost": "0.000000000001",
        "InvoiceIssuerName": "claude_main",
        "ListCost": "0.000000000001",
        "PricingCategory": "Standard",
        "PricingQuantity": "1200",
        "PricingUnit": "Tokens",
        "ProviderName": "claude_main",
        "PublisherName": "claude_main",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Model inference",
        "ServiceSubcategory": "Generative AI",
        "SkuId": "claude-sonnet-4-6",
        "SkuMeter": "Tokens",
        "SkuPriceId": "claude-sonnet-4-6",
        "SubAccountId": "acme",
        "SubAccountName": "acme",
        "Tags": '{"orchestify/agent": "reviewer", "run": "r1"}',
        "x_Calls": "2",
        "x_InputTokens": "1000",
        "x_OutputTokens": "200",
        "x_CacheReadTokens": "400",
        "x_CacheWriteTokens": "0",
        "x_EstimatedCost": "0",
        "x_UnpricedCalls": "0",
    }


def test_the_invoices_issuer_is_the_provider_or_the_cost_would_have_to_be_0(
    rows: list[dict[str, str]],
) -> None:
    assert all(row["InvoiceIssuerName"] == row["ProviderName"] for row in rows)


def test_calls_without_a_price_are_counted_and_what_used_nothing_is_no_charge(
    rows: list[dict[str, str]],
) -> None:
    told = [(row["BilledCost"], row["x_UnpricedCalls"], row["PricingQuantity"]) for row in rows]
    assert told == [("0.000000000001", "0", "1200"), ("0", "1", "7")]


def test_february_ends_where_march_begins(rows: list[dict[str, str]]) -> None:
    assert rows[1]["BillingPeriodEnd"] == "2027-03-01T00:00:00Z"


def test_what_is_not_known_is_null(rows: list[dict[str, str]]) -> None:
    assert [rows[1][name] for name in ("SubAccountId", "SubAccountName", "Tags")] == ["", "", ""]


def test_tags_are_a_json_object_of_texts(rows: list[dict[str, str]]) -> None:
    assert json.loads(rows[0]["Tags"]) == {"orchestify/agent": "reviewer", "run": "r1"}


def test_a_report_without_days_is_refused() -> None:
    report = UsageReport(by=("provider", "model"), rows=(), total=Total())
    with pytest.raises(InvalidParameterError, match="report by day, provider, model"):
        usage_focus(report)
