"""`orchestify usage` and `orchestify usage reprice`, on a ledger in a file."""

from __future__ import annotations

import asyncio
import csv
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestify.cli import cli
from orchestify.ledger.sql.ledger import SqlLedger
from tests.extras import needs
from tests.ledgers import answered, database, opened, sqlite_rows
from tests.reports import HOSTILE, write_ledger

CONFIG = """
providers:
  claude_main: {{type: anthropic, api_key: sk-test, default_model: claude-sonnet-4-5}}
  local:
    type: litellm
    default_model: ollama/llama3
    price: {{input_usd_per_mtok: 1, output_usd_per_mtok: 2}}
agents: {{}}
ledger: {{url: "{url}"}}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "usage.db"
    asyncio.run(write_ledger(path))
    return path


@pytest.fixture
def config(tmp_path: Path, file: Path) -> Path:
    path = tmp_path / "orchestify.yaml"
    path.write_text(CONFIG.format(url=f"sqlite:///{file}"))
    return path


def _run(*arguments: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(cli, ["usage", *map(str, arguments)])


def test_table_is_by_provider_dearest_first(file: Path) -> None:
    result = _run("--ledger", f"sqlite:///{file}")
    assert result.exit_code == 0
    assert [line.split()[:2] for line in result.stdout.splitlines()[4:7]] == [
        ["claude_main", "2"],
        ["openai", "1"],
        ["local", "1"],
    ]
    assert "local/ollama/llama3 (1)" in result.stdout


def test_configuration_names_the_ledger(config: Path) -> None:
    result = _run("--config", config, "--format", "json")
    assert json.loads(result.stdout)["total"]["attempts"] == 5


def test_axes_time_and_filter_reach_the_ledger(file: Path) -> None:
    span = ("--since", "2026-03-15", "--until", "2026-03-16")
    axes = ("--by", "day", "--by", "label:run", "--where", "agent=reviewer")
    result = _run("--ledger", f"sqlite:///{file}", *span, *axes, "--format", "json")
    told = json.loads(result.stdout)
    assert told["by"] == ["day", "label:run"]
    assert told["where"] == {"agent": "reviewer"}
    assert [(row["day"], row["label:run"], row["cost_usd"]) for row in told["rows"]] == [
        ("2026-03-15", "r2", "1.125000000001")
    ]


def test_tenants_are_an_axis_and_a_filter(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/usage.db"
    asyncio.run(_book_for(url, "acme", "zeta"))
    by = json.loads(_run("--ledger", url, "--by", "tenant", "--format", "json").stdout)
    of = json.loads(_run("--ledger", url, "--where", "tenant=acme", "--format", "json").stdout)
    page = _run("--ledger", url, "--by", "tenant", "--format", "html")
    prices = _run("reprice", "--ledger", url, "--by", "tenant", "--format", "csv")
    assert [row["tenant"] for row in by["rows"]] == ["acme", "zeta"]
    assert (by["total"]["calls"], of["total"]["calls"]) == (2, 1)
    assert "zeta" in page.stdout
    assert [line.split(",")[0] for line in prices.stdout.splitlines()] == ["tenant", "acme", "zeta"]


async def _book_for(url: str, *tenants: str) -> None:
    ledger = SqlLedger(database(url, Path()))
    for tenant in tenants:
        await ledger.for_tenant(tenant).open(record := opened())
        ledger.for_tenant(tenant).complete(answered(record))
    await ledger.aclose()


def test_csv_says_on_stderr_what_it_leaves_out(file: Path) -> None:
    result = _run("--ledger", f"sqlite:///{file}", "--format", "csv", "--by", "model")
    assert [line.split(",")[0] for line in result.stdout.splitlines()] == [
        "model",
        "claude-sonnet-4-5",
        "gpt-5.1",
        "ollama/llama3",
    ]
    assert "note: 1 call has no known price" in result.stderr


@pytest.mark.parametrize("kind", ["table", "json", "csv", "html"])
def test_output_is_written_to_a_file(file: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "report"
    result = _run("--ledger", f"sqlite:///{file}", "--format", kind, "--output", path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "claude_main" in path.read_text()


def test_parquet_goes_to_a_file_or_a_pipe(file: Path, tmp_path: Path) -> None:
    needs("pyarrow", "parquet")
    from pyarrow import parquet  # noqa: PLC0415 - an extra

    path = tmp_path / "usage.parquet"
    asked = ("--ledger", f"sqlite:///{file}", "--by", "model", "--by", "day", "--format", "parquet")
    written, piped = _run(*asked, "--output", path), _run(*asked)
    assert (written.exit_code, written.stdout) == (0, "")
    assert path.read_bytes() == piped.stdout_bytes
    table = parquet.read_table(path)
    assert table.column_names[:2] == ["model", "day"]
    assert table["model"].to_pylist()[0] == "claude-sonnet-4-5"
    assert sum(cost for cost in table["cost_usd"].to_pylist() if cost is not None) == Decimal(
        "1.875004200001"
    )
    assert "note: 1 call has no known price" in written.stderr


def test_focus_is_by_day_provider_and_model_and_what_else_is_asked_for(file: Path) -> None:
    result = _run("--ledger", f"sqlite:///{file}", "--by", "agent", "--format", "focus")
    rows = list(csv.DictReader(StringIO(result.stdout)))
    told = [
        (row["ChargePeriodStart"][:10], row["ProviderName"], row["BilledCost"], row["Tags"])
        for row in rows
    ]
    assert told == [
        ("2026-03-14", "claude_main", "0.75", '{"orchestify/agent": "reviewer"}'),
        ("2026-03-15", "claude_main", "1.125000000001", '{"orchestify/agent": "reviewer"}'),
        ("2026-03-15", "local", "0", ""),
        ("2026-03-15", "openai", "0.0000042", f'{{"orchestify/agent": "{HOSTILE}"}}'),
    ]
    assert "note: 1 call has no known price" in result.stderr


def test_file_that_cannot_be_written_is_told(file: Path, tmp_path: Path) -> None:
    result = _run("--ledger", f"sqlite:///{file}", "--output", tmp_path / "nowhere" / "report")
    assert result.exit_code == 1
    assert "cannot be written: no such file or directory" in result.stderr


def test_ledger_in_memory_has_nothing_to_report(tmp_path: Path) -> None:
    path = tmp_path / "orchestify.yaml"
    path.write_text("providers: {m: {type: mock}}\nagents: {}\n")
    result = _run("--config", path)
    assert result.exit_code == 1
    assert "the configuration's ledger is in memory" in result.stderr


def test_ledger_that_is_not_there_is_not_created(tmp_path: Path) -> None:
    result = _run("--ledger", f"sqlite:///{tmp_path}/none.db")
    assert result.exit_code == 1
    assert "none.db: nothing was booked" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_ledger_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_bytes(b"no database, " * 100)
    bad = _run("--ledger", f"sqlite:///{tmp_path}/bad.db")
    folder = _run("--ledger", f"sqlite:///{tmp_path}")
    away = _run("--ledger", "postgresql://nobody@127.0.0.1:1/x")
    begin = "Error: LedgerError: the ledger's database"
    assert bad.stderr == (
        f"{begin} sqlite:///{tmp_path}/bad.db cannot be used: file is not a database\n"
    )
    assert folder.stderr == f"{begin} sqlite:///{tmp_path} cannot be used: it is a directory\n"
    assert away.stderr.startswith(
        f"{begin} postgresql://nobody@127.0.0.1:1/x cannot be used: connection to server"
    )
    assert away.stderr.count("\n") == 1


def test_a_file_in_place_of_a_url_is_told_by_the_options_name() -> None:
    result = _run("--ledger", "usage.db")
    assert "--ledger is neither sqlite:///path/to/file.db nor" in result.stderr


def test_table_fits_a_narrow_terminal(file: Path) -> None:
    result = CliRunner(env={"COLUMNS": "40"}).invoke(
        cli, ["usage", "--ledger", f"sqlite:///{file}", "--by", "model"]
    )
    assert max(map(len, result.stdout.splitlines())) <= 40
    assert "claude-sonnet-4-" in result.stdout
    assert "· too narrow to show: answered, not ok," in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "agent,model"], "as in --by agent --by model"),
        (["--by", "colour"], "cannot report by 'colour'"),
        (["--since", "soon"], "'soon' is no time; write 30m"),
        (["--where", "agent"], "'agent' has no value"),
        (["--where", "agent=a", "--where", "agent=b"], "agent is given twice"),
        (["--where", "colour=red"], "cannot report by 'colour'"),
        (["--by", "model", "reprice"], "write the options behind `reprice`"),
    ],
)
def test_wrong_command_line_is_told(arguments: list[str], said: str) -> None:
    result = _run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.fixture(scope="module")
def daily(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a ledger with a call of 10 USD on each of the last 30 days, and its budgets."""
    url = f"sqlite:///{tmp_path_factory.mktemp('daily') / 'usage.db'}"
    asyncio.run(_book_daily(url))
    return url


async def _book_daily(url: str) -> None:
    ledger = SqlLedger(database(url, Path()))
    for back in range(1, 31):
        record = opened(started_at=datetime.now(UTC) - timedelta(days=back))
        await ledger.open(record)
        ledger.complete(answered(record, cost_usd=Decimal(10)))
    await ledger.aclose()


BUDGETS = """
budgets:
  - {name: all, limit_usd: 200, period: ever}
  - {name: huge, limit_usd: 100000, period: ever}
"""


def test_forecast_is_by_agent_and_names_when_budgets_are_spent(daily: str, tmp_path: Path) -> None:
    path = tmp_path / "orchestify.yaml"
    path.write_text(CONFIG.format(url=daily) + BUDGETS)
    arguments = ("--config", path, "--until", "14d", "--by", "agent", "--format", "json")
    told = json.loads(_run("forecast", *arguments).stdout)
    table = _run("forecast", "--config", path, "--until", "month-end")
    usage = _run("--config", path)
    page = _run("--config", path, "--format", "html")
    assert [row["agent"] for row in told["rows"]] == ["reviewer"]
    ahead = Decimal(told["total"]["expected_usd"]) - Decimal(told["total"]["spent_usd"])
    assert 139 < ahead < 151  # fourteen days, and what is left of today
    assert [each["outlook"] for each in told["budgets"]] == ["on", "lasts"]
    line = f"budget all: spent on {told['budgets'][0]['day']} at this pace"
    assert line in table.stdout
    assert line in usage.stdout
    assert f"spent on {told['budgets'][0]['day']} at this pace" in page.stdout


def test_forecast_of_few_days_knows_too_little(file: Path) -> None:
    result = _run("forecast", "--ledger", f"sqlite:///{file}", "--format", "csv", "--until", "3d")
    new = _run("forecast", "--ledger", f"sqlite:///{file}", "--where", "agent=nobody")
    assert result.exit_code == 0
    assert "too little is known for a forecast: 0 of 14 whole days" in new.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--until", "soon"], "'soon' is no end; write month-end, 14d"),
        (["--until", "93d"], "it reaches from tomorrow to 92 days ahead"),
        (["--until", "2020-01-01"], "it reaches from tomorrow to 92 days ahead"),
        (["--by", "day"], "leave out `day`"),
    ],
)
def test_wrong_end_of_a_forecast_is_told(daily: str, arguments: list[str], said: str) -> None:
    result = _run("forecast", "--ledger", daily, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_repricing_shows_todays_prices_beside_what_was_booked(config: Path) -> None:
    result = _run("reprice", "--config", config, "--format", "json", "--where", "provider=local")
    assert json.loads(result.stdout)["rows"] == [
        {
            "provider": "local",
            "model": "ollama/llama3",
            "attempts": 1,
            "provider_cost": 0,
            "booked_unpriced": 1,
            "repriced_unpriced": 0,
            "booked_usd": None,
            "repriced_usd": "0.00014",
        }
    ]


def test_repricing_changes_no_record(file: Path, config: Path) -> None:
    query = "SELECT * FROM usage_records ORDER BY id"
    before = sqlite_rows(file, query)
    assert _run("reprice", "--config", config).exit_code == 0
    assert sqlite_rows(file, query) == before


def test_repricing_needs_no_configuration(file: Path) -> None:
    result = _run("reprice", "--ledger", f"sqlite:///{file}", "--prices", "dated")
    assert result.exit_code == 0
    assert "Booked, and at genai-prices of the record's date" in result.stdout
    assert "1 record had no price when booked" in result.stdout


def test_repricing_as_csv_says_on_stderr_what_it_leaves_out(file: Path) -> None:
    result = _run("reprice", "--ledger", f"sqlite:///{file}", "--format", "csv")
    assert result.stdout.splitlines()[0] == (
        "provider,model,attempts,provider_cost,booked_unpriced,repriced_unpriced,"
        "booked_usd,repriced_usd"
    )
    assert "note: 1 record had no price when booked" in result.stderr
