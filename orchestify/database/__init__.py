"""SQL databases, SQLite or PostgreSQL: engines, connections, transactions."""
