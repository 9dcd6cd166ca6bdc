"""Reports of a ledger's usage: a table for terminals, data for programs, a page, other prices.

Read `data` first: a report as JSON and CSV, with `parquet` and `focus` (what finance reads) beside
it; `table` and `html` show the same for people, with `caveats` in words and `formatting` for
numbers. `rows` orders and shortens. `repricing` compares with other prices. Other rooms import the
names below, each loaded at its first use.
A new format of data is a name below and its row of `formats.FORMATS`: the command and REST offer
it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from orchestify.report.caveats import usage_caveats
    from orchestify.report.data import usage_csv, usage_json
    from orchestify.report.focus import usage_focus
    from orchestify.report.formats import FORMATS
    from orchestify.report.html import usage_page
    from orchestify.report.parquet import usage_parquet
    from orchestify.report.repricing import (
        RepricingTable,
        dated_prices,
        repricing_csv,
        repricing_json,
        todays_prices,
    )
    from orchestify.report.table import UsageTable
    from orchestify.report.times import parse_time

DataFormatName: TypeAlias = Literal["json", "csv", "parquet", "focus"]
"""The formats for programs; `formats.FORMATS` writes them."""

_HOMES = {
    "FORMATS": "formats",
    "RepricingTable": "repricing",
    "UsageTable": "table",
    "dated_prices": "repricing",
    "parse_time": "times",
    "repricing_csv": "repricing",
    "repricing_json": "repricing",
    "todays_prices": "repricing",
    "usage_csv": "data",
    "usage_focus": "focus",
    "usage_json": "data",
    "usage_page": "html",
    "usage_parquet": "parquet",
    "usage_caveats": "caveats",
}

__all__ = [
    "FORMATS",
    "DataFormatName",
    "RepricingTable",
    "UsageTable",
    "dated_prices",
    "parse_time",
    "repricing_csv",
    "repricing_json",
    "todays_prices",
    "usage_caveats",
    "usage_csv",
    "usage_focus",
    "usage_json",
    "usage_page",
    "usage_parquet",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
