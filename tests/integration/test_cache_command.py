"""`orchestify cache clear`, on a ledger in a file and on Redis."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from orchestify.cli import cli
from orchestify.response_cache.sql_store import SqlStore
from orchestify.response_cache.store import Bounds, Place
from tests.ledgers import database
from tests.redis_server import free_port

FILE = "usage.db"


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["cache", "clear", *map(str, arguments)])


def _config(folder: Path, **top: Any) -> Path:
    path = folder / "orchestify.yaml"
    it = {"type": "mock", "default_model": "m"}
    path.write_text(json.dumps({"providers": {"it": it}, **top}))
    return path


def _fill(folder: Path, *tenants: str) -> None:
    opened = database(f"sqlite:///{FILE}", folder)
    for tenant in tenants:
        place = Place(tenant, "hours", "k")
        asyncio.run(SqlStore(opened).keep(place, "owner", "text", Bounds(3600, 10)))
    opened.dispose()


def test_the_configurations_ledger_is_cleared(tmp_path: Path) -> None:
    _fill(tmp_path, "")
    ledger = {"url": f"sqlite:///{FILE}"}
    config = _config(tmp_path, ledger=ledger, response_cache={"at": "ledger"})
    assert _run("--config", config).output == "dropped 1 answer from the ledger's database\n"
    assert _run("--config", config).output == "dropped 0 answers from the ledger's database\n"


def test_of_a_service_a_tenants_answers_may_be_cleared(tmp_path: Path) -> None:
    _fill(tmp_path, "acme", "other", "third")
    url = f"sqlite:///{tmp_path}/{FILE}"
    told = [_run("--ledger", url, *which).output for which in (("--tenant", "acme"), ())]
    assert told == [
        "dropped 1 answer from the ledger's database\n",
        "dropped 2 answers from the ledger's database\n",
    ]


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    result = _run("--ledger", f"sqlite:///{tmp_path}/{FILE}")
    assert result.output == "dropped 0 answers from the ledger's database\n"
    assert not (tmp_path / FILE).exists()


def test_answers_in_memory_are_their_processes(tmp_path: Path) -> None:
    result = _run("--config", _config(tmp_path, response_cache=True))
    assert result.output == "no answers are kept beyond the memory of a process\n"


def test_a_redis_that_is_away_is_told() -> None:
    result = _run("--redis", f"redis://127.0.0.1:{free_port()}/0")
    assert (result.exit_code, result.output) == (1, "Error: redis is away\n")
