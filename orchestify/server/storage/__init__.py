"""The service's database: tables, migrations, rows, keys, the audit log.

Read `store` first: every change of rows is one of its transactions. `tables` has the columns,
`migrations` their steps, `row_kinds` what providers and agents share, `queries` the SQL.
A changed column is one in `tables`, in `rows.stored_rows`, and a new migration.
"""
