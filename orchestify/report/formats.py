"""The formats of reports for programs, by name: what the command and the REST endpoints offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from orchestify.ledger.base import UsageReport
from orchestify.report import DataFormatName, focus
from orchestify.report.data import usage_csv, usage_json
from orchestify.report.focus import usage_focus
from orchestify.report.parquet import usage_parquet


class DataFormat(NamedTuple):
    """A report as data for programs.

    `has_caveats` says whether it tells how far sums hold. `needs` are the axes that a report must
    have for it, first of all.
    """

    media_type: str
    write: Callable[[UsageReport], str | bytes]
    has_caveats: bool
    needs: tuple[str, ...] = ()

    def axes(self, asked: tuple[str, ...], default: str) -> tuple[str, ...]:
        """Return the axes of a report: those needed, then those asked for, `default` without."""
        return tuple(dict.fromkeys((*self.needs, *asked))) or (default,)


FORMATS: Mapping[DataFormatName, DataFormat] = {
    "json": DataFormat("application/json", usage_json, has_caveats=True),
    "csv": DataFormat("text/csv; charset=utf-8", usage_csv, has_caveats=False),
    "parquet": DataFormat("application/vnd.apache.parquet", usage_parquet, has_caveats=False),
    "focus": DataFormat("text/csv; charset=utf-8", usage_focus, has_caveats=False, needs=focus.BY),
}
"""What the command and the REST endpoints offer, by name; a new one is a row here."""
