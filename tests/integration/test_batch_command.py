"""`orchestify batch submit`, `status`, `fetch` and `cancel`, as a shell sees them."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestify.cli import cli
from orchestify.testing import Reply, StubServer
from tests.batches import batch_config


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer.in_thread() as running:
        yield running


@pytest.fixture
def config(server: StubServer, tmp_path: Path) -> Path:
    return written(tmp_path, batch_config(server.url, f"sqlite:///{tmp_path}/usage.db"))


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    lines = [{"custom_id": f"r{n}", "prompt": f"hello {n}"} for n in range(3)]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return path


def written(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "orchestify.yaml"
    path.write_text(json.dumps(values))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["batch", *map(str, arguments)], prog_name="orchestify")


def submitted(config: Path, requests: Path) -> str:
    told = run("submit", requests, "--agent", "writer", "--config", config)
    assert told.exit_code == 0, told.output
    return told.stdout.strip()


def test_a_file_is_submitted_followed_and_fetched(
    server: StubServer, config: Path, requests: Path, tmp_path: Path
) -> None:
    server.batches.holds = True
    told = run("submit", requests, "--agent", "writer", "--config", config)
    batch_id = told.stdout.strip()
    assert "3 requests at main/stub | $0.001533 at most | running (in progress)" in told.stderr
    assert f"orchestify batch fetch {batch_id} -o FILE" in told.stderr
    early = run("fetch", batch_id, "-o", tmp_path / "a.jsonl", "--config", config)
    assert early.exit_code == 1
    assert "has not ended: in_progress, 0 of 3 requests done; fetch it later" in early.stderr
    assert sorted(each.name for each in tmp_path.glob("a.jsonl*")) == []

    server.batches.end()
    shown = run("status", batch_id, "--config", config).stdout
    assert "ended (completed)" in shown
    assert "3 requests at main/stub for writer | 3 done, 0 failed | $0.001533 at most" in shown
    fetched = run("fetch", batch_id, "-o", tmp_path / "a.jsonl", "--config", config)
    assert fetched.exit_code == 0
    assert "3 of 3 requests answered | $0.00009" in fetched.stderr
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert sorted(line["custom_id"] for line in lines) == ["r0", "r1", "r2"]
    assert {line["response"]["body"]["choices"][0]["message"]["content"] for line in lines} == {
        "stub read 2 words."
    }
    assert stat.S_IMODE((tmp_path / "a.jsonl").stat().st_mode) == 0o600


def test_answers_take_the_place_of_answers_alone(
    config: Path, requests: Path, tmp_path: Path
) -> None:
    batch_id, before = submitted(config, requests), requests.read_text()
    there, link, folder = tmp_path / "there.jsonl", tmp_path / "link.jsonl", tmp_path / "folder"
    there.write_text("")
    link.symlink_to(there)
    folder.mkdir()
    for file in (requests, Path("/dev/null"), folder):
        refused = run("fetch", batch_id, "-o", file, "--config", config)
        assert refused.exit_code == 1
        assert "holds no answers; name another file" in refused.stderr
    assert requests.read_text() == before
    for file in (there, link, there):
        assert run("fetch", batch_id, "-o", file, "--config", config).exit_code == 0
        assert len(there.read_text().splitlines()) == 3
    assert link.is_symlink()
    assert stat.S_IMODE(there.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.glob(".there*")] == []


def test_without_an_id_the_known_batches_are_listed_and_nobody_is_asked(
    server: StubServer, config: Path, requests: Path
) -> None:
    none = run("status", "--config", config)
    assert "there are no batches in this ledger" in none.stdout
    batch_id = submitted(config, requests)
    asked = len(server.requests)
    shown = run("status", "--config", config).stdout
    assert batch_id in shown
    assert "running" in shown
    assert len(server.requests) == asked


def test_a_batch_is_json_for_programs(config: Path, requests: Path) -> None:
    told = run("submit", requests, "--agent", "writer", "--config", config, "--json")
    batch = json.loads(told.stdout)
    assert (batch["state"], batch["total"]) == ("running", 3)
    assert Decimal(batch["at_most_usd"]) == Decimal("0.001533")
    again = json.loads(run("status", batch["id"], "--config", config, "--json").stdout)
    assert again["state"] == "ended"


def test_a_cancelled_batch_gives_what_was_done(
    server: StubServer, config: Path, requests: Path, tmp_path: Path
) -> None:
    server.batches.holds = True
    batch_id = submitted(config, requests)
    told = run("cancel", batch_id, "--config", config)
    assert told.stdout == f"batch {batch_id}: running (cancelling)\n"
    server.batches.end("cancelled", done=1)
    fetched = run("fetch", batch_id, "-o", tmp_path / "a.jsonl", "--config", config)
    assert fetched.exit_code == 1
    assert "1 of 3 requests answered | 2 failed | $0.00003" in fetched.stderr
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["error"]["code"] for line in lines if line["error"]] == ["BatchStateError"] * 2


def test_a_lost_answer_names_the_batch_and_what_to_do(
    server: StubServer, config: Path, requests: Path
) -> None:
    server.batches.script("create", Reply(reset=True))
    told = run("submit", requests, "--agent", "writer", "--config", config)
    assert told.exit_code == 1
    assert "it may have been made: `orchestify batch status" in told.stderr
    again = run("submit", requests, "--agent", "writer", "--config", config)
    assert again.exit_code == 0
    assert len(server.batches.batches) == 1


@pytest.mark.parametrize("command", ["status", "fetch", "cancel"])
def test_an_unknown_id_is_one_line(config: Path, tmp_path: Path, command: str) -> None:
    output = ["-o", tmp_path / "a.jsonl"] if command == "fetch" else []
    told = run(command, "nothing", *output, "--config", config)
    assert told.exit_code == 1
    assert "there is no batch 'nothing' in this ledger" in told.stderr


def test_a_line_that_is_no_request_is_named_and_nothing_is_sent(
    server: StubServer, config: Path, requests: Path
) -> None:
    requests.write_text('{"prompt": "a"}\n{"promt": "b"}\n')
    told = run("submit", requests, "--agent", "writer", "--config", config)
    assert told.exit_code == 1
    assert f"{requests}:2:" in told.stderr
    assert len(server.requests) == 0


def test_a_ledger_in_memory_is_refused(server: StubServer, requests: Path, tmp_path: Path) -> None:
    values = batch_config(server.url, "sqlite:///x.db")
    del values["ledger"]
    config = written(tmp_path, values)
    told = run("submit", requests, "--agent", "writer", "--config", config)
    assert told.exit_code == 1
    assert "set ledger.url" in told.stderr
