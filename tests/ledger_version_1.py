"""A ledger's database as version 1 left it: its tables, literally, and a row or two in each."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg

TABLES = """
CREATE TABLE budget_holds (
  id VARCHAR NOT NULL,
  period_id VARCHAR NOT NULL,
  owner VARCHAR NOT NULL,
  held_at DATETIME NOT NULL,
  amount_picousd BIGINT NOT NULL,
  amount_usd DOUBLE GENERATED ALWAYS AS (amount_picousd / 1e12) STORED,
  booked_picousd BIGINT,
  booked_usd DOUBLE GENERATED ALWAYS AS (booked_picousd / 1e12) STORED,
  PRIMARY KEY (id, period_id)
);
CREATE INDEX budget_holds_period ON budget_holds (period_id);
CREATE TABLE budget_periods (
  id VARCHAR NOT NULL,
  budget VARCHAR NOT NULL,
  period VARCHAR NOT NULL,
  starts_at DATETIME NOT NULL,
  ends_at DATETIME,
  spent_picousd BIGINT NOT NULL,
  spent_usd DOUBLE GENERATED ALWAYS AS (spent_picousd / 1e12) STORED,
  overrun_picousd BIGINT NOT NULL,
  overrun_usd DOUBLE GENERATED ALWAYS AS (overrun_picousd / 1e12) STORED,
  alerted INTEGER NOT NULL,
  turn_owner VARCHAR,
  turn_until DATETIME,
  PRIMARY KEY (id)
);
CREATE TABLE health_history (
  provider VARCHAR NOT NULL,
  at DATETIME NOT NULL,
  owner VARCHAR NOT NULL,
  status VARCHAR NOT NULL,
  snapshot JSON NOT NULL,
  PRIMARY KEY (provider, at, owner)
);
CREATE TABLE ledger_leases (
  owner VARCHAR NOT NULL,
  expires_at DATETIME NOT NULL,
  PRIMARY KEY (owner)
);
CREATE TABLE ledger_settings (
  name VARCHAR NOT NULL,
  value VARCHAR NOT NULL,
  PRIMARY KEY (name)
);
CREATE TABLE usage_days (
  label VARCHAR NOT NULL,
  day VARCHAR NOT NULL,
  provider VARCHAR NOT NULL,
  agent VARCHAR NOT NULL,
  model VARCHAR NOT NULL,
  value VARCHAR NOT NULL,
  calls BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  failed BIGINT NOT NULL,
  cancelled BIGINT NOT NULL,
  interrupted BIGINT NOT NULL,
  unpriced_calls BIGINT NOT NULL,
  estimated_calls BIGINT NOT NULL,
  invalid_usage BIGINT NOT NULL,
  input_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  cache_read BIGINT NOT NULL,
  cache_write BIGINT NOT NULL,
  reasoning BIGINT NOT NULL,
  cost_picousd BIGINT NOT NULL,
  cost_usd DOUBLE GENERATED ALWAYS AS (cost_picousd / 1e12) STORED,
  estimated_cost_picousd BIGINT NOT NULL,
  estimated_cost_usd DOUBLE GENERATED ALWAYS AS (estimated_cost_picousd / 1e12) STORED,
  latency_s DOUBLE NOT NULL,
  PRIMARY KEY (label, day, provider, agent, model, value)
) WITHOUT ROWID;
CREATE TABLE usage_records (
  id VARCHAR NOT NULL,
  call_id VARCHAR NOT NULL,
  attempt INTEGER NOT NULL,
  started_at DATETIME NOT NULL,
  day VARCHAR NOT NULL,
  provider VARCHAR NOT NULL,
  agent VARCHAR NOT NULL,
  model VARCHAR NOT NULL,
  model_answered VARCHAR DEFAULT '' NOT NULL,
  outcome VARCHAR NOT NULL,
  owner VARCHAR,
  input_tokens BIGINT DEFAULT '0' NOT NULL,
  output_tokens BIGINT DEFAULT '0' NOT NULL,
  cache_read BIGINT DEFAULT '0' NOT NULL,
  cache_write BIGINT DEFAULT '0' NOT NULL,
  cache_write_1h BIGINT DEFAULT '0' NOT NULL,
  reasoning BIGINT DEFAULT '0' NOT NULL,
  searches BIGINT DEFAULT '0' NOT NULL,
  service_tier VARCHAR,
  usage_source VARCHAR DEFAULT 'unknown' NOT NULL,
  usage_invalid VARCHAR DEFAULT '' NOT NULL,
  cost_picousd BIGINT,
  cost_usd DOUBLE GENERATED ALWAYS AS (cost_picousd / 1e12) STORED,
  cost_source VARCHAR DEFAULT 'none' NOT NULL,
  price_date DATE,
  assumed_price BOOLEAN DEFAULT 0 NOT NULL,
  cost_at_most_picousd BIGINT,
  cost_at_most_usd DOUBLE GENERATED ALWAYS AS (cost_at_most_picousd / 1e12) STORED,
  latency_s DOUBLE,
  first_chunk_s DOUBLE,
  error VARCHAR DEFAULT '' NOT NULL,
  labels JSON NOT NULL,
  PRIMARY KEY (id)
);
CREATE INDEX ix_usage_records_started_at ON usage_records (started_at);
CREATE INDEX usage_records_open ON usage_records (owner) WHERE outcome = 'open';
INSERT INTO ledger_settings VALUES ('schema_version', '1');
"""

RECORDS = """
INSERT INTO usage_records (
  id, call_id, attempt, started_at, day, provider, agent, model, outcome, owner,
  input_tokens, output_tokens, usage_source, cost_picousd, cost_source, cost_at_most_picousd,
  latency_s, labels
) VALUES
  ('done', 'call-1', 1, '2026-03-14 12:00:00.000000', '2026-03-14', 'claude_main', 'reviewer',
   'claude-sonnet-4-5', 'ok', NULL,
   100, 20, 'reported', 300000000, 'config', 500000000000, 0.25, '{"run": "r1"}'),
  ('open', 'call-2', 1, '2026-03-14 12:00:01.000000', '2026-03-14', 'claude_main', 'reviewer',
   'claude-sonnet-4-5', 'open', 'v1',
   0, 0, 'unknown', NULL, 'none', 500000000000, NULL, '{}');
"""

SUMS = """
INSERT INTO usage_days (
  label, day, provider, agent, model, value, calls, attempts, failed, cancelled, interrupted,
  unpriced_calls, estimated_calls, invalid_usage, input_tokens, output_tokens, cache_read,
  cache_write, reasoning, cost_picousd, estimated_cost_picousd, latency_s
) VALUES
  ('', '2026-03-14', 'claude_main', 'reviewer', 'claude-sonnet-4-5', '',
   1, 1, 0, 0, 0, 0, 0, 0, 100, 20, 0, 0, 0, 300000000, 0, 0.25),
  ('run', '2026-03-14', 'claude_main', 'reviewer', 'claude-sonnet-4-5', 'r1',
   1, 1, 0, 0, 0, 0, 0, 0, 100, 20, 0, 0, 0, 300000000, 0, 0.25);
INSERT INTO ledger_leases VALUES ('v1', '2999-01-01 00:00:00.000000');
INSERT INTO budget_periods (
  id, budget, period, starts_at, ends_at, spent_picousd, overrun_picousd, alerted
) VALUES (
  '1970-01-01T00:00Z ever total', 'total', 'ever', '1970-01-01 00:00:00.000000', NULL,
  4000000000000, 1000000000000, 1
);
INSERT INTO budget_holds (id, period_id, owner, held_at, amount_picousd) VALUES
  ('open', '1970-01-01T00:00Z ever total', 'v1', '2026-03-14 12:00:01.000000', 500000000000);
INSERT INTO health_history VALUES (
  'claude_main', '2026-03-14 12:00:00.000000', 'v1', 'healthy',
  '{"provider": "claude_main", "status": "healthy"}'
);
"""


def make_sqlite(path: Path, rows: str) -> None:
    """Make the file, as version 1 would have it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES + rows)


def make_postgres(url: str, rows: str) -> None:
    """Make the tables in a schema, as version 1 would have them."""
    script = (TABLES + rows).replace("DATETIME", "TIMESTAMP WITH TIME ZONE")
    script = script.replace("DOUBLE", "DOUBLE PRECISION").replace(" WITHOUT ROWID", "")
    script = script.replace("BOOLEAN DEFAULT 0", "BOOLEAN DEFAULT false")
    with psycopg.connect(url) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        connection.execute(script)
