"""The ledger in SQLite or PostgreSQL.

Read `ledger` first, then `writer` (the thread that writes) and `journal` (what it does there).
`inbox` has what wakes the thread, `schema` the tables and their upgrades, `booking` writes records
and sums, `reading` reports them, `upkeep` keeps leases and deletes, `batches` keeps what is left to
providers. Other rooms use `ledger`, `schema` and `repricing`, and only where a ledger has a URL:
SQLAlchemy is slow to import.
"""
