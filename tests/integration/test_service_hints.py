"""What the service's commands say to who is new to them, or has slipped."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from orchestify.cli import cli
from orchestify.server.storage.opening import open_database
from tests.integration.test_service_commands import serve
from tests.servers import PROVIDERS

LOCAL = "sqlite:///.orchestify/service.db"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working one, and no database in the environment."""
    monkeypatch.delenv("ORCHESTIFY_DATABASE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str, columns: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(cli, args)


def create(tenant: str, *more: str) -> Result:
    return run("tokens", "create", "--tenant", tenant, "--scope", "admin", *more)


def test_a_token_says_which_database_it_is_in_and_whether_that_is_new(folder: Path) -> None:
    first, second = create("acme"), create("acme")
    where = f"sqlite:///{folder}/.orchestify/service.db"
    assert first.stderr.splitlines() == [
        f"the service's database is new: {where}",
        "tenant acme is new; it is the first",
    ]
    assert second.stderr.splitlines() == [f"the service's database is: {where}"]
    assert first.stdout.splitlines()[-1].startswith("ork_")


def test_a_mistyped_tenant_is_seen_beside_those_that_there_are() -> None:
    create("acme")
    assert "tenant acmee is new; there are: acme\n" in create("acmee").stderr


def test_the_first_token_says_how_to_reach_what_was_made_while_all_was_open(folder: Path) -> None:
    with serve(folder) as running:
        config = {"default_model": "gpt-4.1-mini"}
        row = {"provider_type": "openai", "api_key": "sk-made-up", "config": config}
        answer = httpx.post(f"{running.url}{PROVIDERS}", json=row, trust_env=False)
        running.end()
    first, second = create("acme"), create("other")
    assert answer.status_code == 201
    assert "1 provider made while the service was open" in first.stderr
    assert "a token of `--tenant default` reaches them" in first.stderr
    assert "while the service was open" not in second.stderr


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_ids_of_tokens_are_whole_at_every_width(columns: int) -> None:
    create("acme", "--scope", "call", "--scope", "read", "--name", "the deployment of the docs")
    (row,) = json.loads(run("tokens", "list", "--json").stdout)
    listed = run("tokens", "list", columns=columns)
    assert row["id"] in listed.stdout
    assert "holds" in listed.stdout
    assert max(len(line.rstrip()) for line in listed.stdout.splitlines()) <= columns
    assert run("tokens", "revoke", row["id"]).exit_code == 0


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_audit_log_is_whole_at_every_width(columns: int) -> None:
    create("acme", "--name", "ci")
    (row,) = json.loads(run("tokens", "list", "--json").stdout)
    shown = run("audit", columns=columns).stdout
    assert re.search(rf"api_tokens/{row['id']}\b", shown)
    assert "name=ci scopes=admin" in shown
    assert {"token.create", "ok", "local"} < set(shown.split())
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= columns


def test_usage_in_the_services_folder_says_where_its_ledger_is(folder: Path) -> None:
    open_database(LOCAL, folder).dispose()
    (folder / "config" / ".orchestify").mkdir(parents=True)
    refused = run("usage")
    assert refused.exit_code == 3
    assert f"note: the service's ledger is read with --ledger {LOCAL}\n" in refused.stderr


def test_usage_names_the_variable_and_not_the_password_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORCHESTIFY_DATABASE", "postgresql://me:hush@127.0.0.1:1/none")
    refused = run("usage")
    assert 'is read with --ledger "$ORCHESTIFY_DATABASE"' in refused.stderr
    assert "hush" not in refused.output


def test_usage_elsewhere_says_nothing_of_a_service() -> None:
    assert "service" not in run("usage").stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "192.0.2.1"), "--host 192.0.2.1: it would be open to everybody"),
        (("--redis", "http://127.0.0.1"), "the URL of Redis cannot be used: expected redis://"),
    ],
    ids=["host", "redis"],
)
def test_an_option_that_cannot_be_used_is_told_in_one_line(
    options: tuple[str, ...], said: str
) -> None:
    refused = run("serve", "--port", "0", *options)
    assert refused.exit_code == 3
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"Error: {said}")


def test_a_host_that_is_none_is_told_in_one_line() -> None:
    create("acme")
    refused = run("serve", "--port", "0", "--host", "no-such-host.invalid")
    assert refused.exit_code == 3
    (line,) = refused.stderr.splitlines()
    assert line.startswith("Error: --host no-such-host.invalid --port 0: cannot listen there: ")


def test_what_serve_is_told_in_vain_is_noted_at_its_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create("acme")
    monkeypatch.setenv("ORCHESTIFY_DATABSE", "sqlite:///elsewhere.db")
    monkeypatch.setenv("ORCHESTIFY_OF_MY_OWN", "for the configuration")
    with serve(folder, "--host", "0.0.0.0", "--machines", "2") as running:  # noqa: S104
        notes = [next(iter(running.process.stdout or ())) for _ in range(3)]
        running.end()
        rest = (running.process.stdout or folder.open()).read()
    assert "--machines 2 does nothing without --redis" in notes[0]
    assert "--host 0.0.0.0: tokens and prompts come in without TLS" in notes[1]
    assert "ORCHESTIFY_DATABSE is not known; did you mean ORCHESTIFY_DATABASE?" in notes[2]
    assert "note" not in rest
