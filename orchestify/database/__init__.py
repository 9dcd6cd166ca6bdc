"""SQL databases for the ledger, the vault and the service: SQLite and PostgreSQL.

Read `sql.py` first: connections, transactions, retries and error messages. `sqlite.py` and
`postgres.py` hold what is particular to each. They import SQLAlchemy, which takes time: import
them where a database is opened.

Other rooms import from: sql, sqlite.
"""
