"""The only totals: what was called, by whom, with which outcome and at what cost."""

from orchestify.ledger.base import Ledger, UsageReport, UsageRow
from orchestify.ledger.memory import MemoryLedger
from orchestify.ledger.opening import open_ledger
from orchestify.ledger.record import Record, current_labels, scope
from orchestify.ledger.totals import Total, Totals

__all__ = [
    "Ledger",
    "MemoryLedger",
    "Record",
    "Total",
    "Totals",
    "UsageReport",
    "UsageRow",
    "current_labels",
    "open_ledger",
    "scope",
]
