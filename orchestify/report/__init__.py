"""Reports of a ledger's usage: a table for terminals, JSON and CSV, a page, prices afresh."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestify.report.comparison import RepricingTable, repricing_csv, repricing_json
    from orchestify.report.data import usage_csv, usage_json
    from orchestify.report.html import usage_page
    from orchestify.report.remarks import usage_remarks
    from orchestify.report.reprice import dated_prices, todays_prices
    from orchestify.report.table import UsageTable
    from orchestify.report.times import parse_time

_HOMES = {
    "RepricingTable": "comparison",
    "UsageTable": "table",
    "dated_prices": "reprice",
    "parse_time": "times",
    "repricing_csv": "comparison",
    "repricing_json": "comparison",
    "todays_prices": "reprice",
    "usage_csv": "data",
    "usage_json": "data",
    "usage_page": "html",
    "usage_remarks": "remarks",
}

__all__ = [
    "RepricingTable",
    "UsageTable",
    "dated_prices",
    "parse_time",
    "repricing_csv",
    "repricing_json",
    "todays_prices",
    "usage_csv",
    "usage_json",
    "usage_page",
    "usage_remarks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
