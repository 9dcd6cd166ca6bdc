"""The ledger: the only account of what was called, by whom, with which outcome and at what cost.

Read `base` first, the interface of every ledger; `memory` and `sql/` implement it, `budgets/`
reserves money in it. Other rooms import from `base`, `record`, `totals`, `axes` (what reports
are by), `summary`, `opening` and `budgets.store`. `sql/` is imported only where a ledger has a
URL, since SQLAlchemy is slow to import.
"""
