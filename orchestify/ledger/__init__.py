"""The ledger: the only account of what was called, by whom, with which outcome and at what cost.

Read `base` first, the interface of every ledger; `memory` and `sql/` implement it, `budgets/`
reserves money before a call. `axes` lists what reports are by. `sql/` is imported only where a
ledger has a URL, since SQLAlchemy is slow to import.

Other rooms import from: axes, base, batches, budgets, forecasts, memory, opening, record, sql,
summary.
"""
