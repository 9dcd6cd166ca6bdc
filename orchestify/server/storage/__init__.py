"""The service's database: tables, migrations, rows, the audit log."""
