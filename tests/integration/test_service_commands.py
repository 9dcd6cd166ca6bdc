from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import pytest
from click.testing import CliRunner, Result

from orchestify.cli import cli
from orchestify.testing import StubServer
from tests.ledgers import sqlite_rows
from tests.servers import ENCRYPTION_KEYS, PROVIDERS

KEY = "sk-made-up-key-0123456789"
PROMPT = "a prompt that nobody else may read"


@dataclass(frozen=True, slots=True)
class CurrentService:
    """A `serve` of its own, where it listens and what it says."""

    process: subprocess.Popen[str]
    url: str
    said: list[str]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def serve(folder: Path, *options: str) -> Iterator[CurrentService]:
    """Run `orchestify serve` in a folder until it says that it serves."""
    command = [sys.executable, "-m", "orchestify", "serve", "--port", "0", *options]
    environ = {**os.environ, **ENCRYPTION_KEYS, "PYTHONUNBUFFERED": "1"}
    with (
        (folder / "stderr.txt").open("w") as stderr,
        subprocess.Popen(  # noqa: S603 - this interpreter
            command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        try:
            said = _until_it_serves(process.stdout, folder)
            yield CurrentService(process, re.findall(r"http://\S+", said[0])[0], said)
        finally:
            process.kill()


def _until_it_serves(stdout: IO[str] | None, folder: Path) -> list[str]:
    said: list[str] = []
    for line in stdout or ():
        said.append(line.rstrip())
        if line.startswith("  access"):
            return said
    pytest.fail(f"it did not start: {said} {(folder / 'stderr.txt').read_text()}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


def last_line(result: Result) -> str:
    return result.stdout.splitlines()[-1]


def test_serve_alone_runs_on_sqlite_in_the_folder_that_only_its_owner_reads(folder: Path) -> None:
    with serve(folder) as running:
        health = httpx.get(f"{running.url}/healthz", trust_env=False)
        ended = running.end()
    database = folder / ".orchestify/service.db"
    assert health.json() == {"status": "ok"}
    assert ended == 0
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert stat.S_IMODE(database.parent.stat().st_mode) == 0o700
    assert f"sqlite:///{database}" in running.said[1]
    assert "open to everybody on this machine" in running.said[-1]
    assert "as tenant 'default'" in running.said[-1]
    assert "orchestify tokens create --tenant NAME --scope admin" in running.said[-1]


SEED_004 = {
    "OPENAI_API_KEY": KEY,
    "DEFAULT_OPENAI_MODEL": "gpt-4",
    "GOOGLE_API_KEY": KEY,
    "DEFAULT_GOOGLE_MODEL": "gemini-pro",
    "LLM_ENCRYPTION_KEY": "+/+/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "LLM_RATE_LIMIT_PER_MINUTE": "2",
    "LLM_RATE_LIMIT_PER_DAY": "10000",
    "LLM_DAILY_COST_ALERT_THRESHOLD": "100.00",
    "AZURE_OPENAI_API_KEY": KEY,
}


def test_serve_without_a_configuration_takes_the_environments_and_says_what(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SEED_004.items():
        monkeypatch.setenv(name, value)
    with StubServer.in_thread() as stub:
        monkeypatch.setenv("OPENAI_BASE_URL", stub.openai_url)
        with serve(folder) as running:
            call = {"model": "openai/gpt-4", "messages": [{"role": "user", "content": "hi"}]}
            asked = {"headers": {"x-orchestify-timeout-s": "1"}, "trust_env": False}
            address = f"{running.url}/v1/chat/completions"
            answers = [httpx.post(address, json=call, **asked).status_code for _ in range(3)]
            listed = httpx.get(f"{running.url}{PROVIDERS}", trust_env=False).json()
            running.end()
    (taken,) = (line.split(maxsplit=1)[1] for line in running.said if "taken" in line)
    assert taken == (
        "from the environment, for want of CONFIG: openai (OPENAI_API_KEY, OPENAI_BASE_URL, "
        "DEFAULT_OPENAI_MODEL), gemini (GOOGLE_API_KEY, DEFAULT_GOOGLE_MODEL), rate_limit "
        "(LLM_RATE_LIMIT_PER_MINUTE, LLM_RATE_LIMIT_PER_DAY), alerts "
        "(LLM_DAILY_COST_ALERT_THRESHOLD), encryption (ORCHESTIFY_ENCRYPTION_KEYS, "
        "LLM_ENCRYPTION_KEY)"
    )
    assert KEY not in str(running.said)
    assert answers == [200, 200, 429]
    assert [each["name"] for each in listed["inherited"]] == ["openai", "gemini"]


def test_a_configuration_stands_in_place_of_the_environments(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (folder / "own.yaml").write_text("providers: {}\n")
    with serve(folder, "own.yaml") as running:
        listed = httpx.get(f"{running.url}{PROVIDERS}", trust_env=False).json()
        running.end()
    assert listed["inherited"] == []
    assert [line for line in running.said if "taken" in line] == []


def test_a_variable_that_cannot_be_used_is_told_before_it_serves(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("LLM_RATE_LIMIT_PER_MINUTE", "my-secret")
    refused = run("serve", "--port", "0")
    assert refused.exit_code == 3
    assert "rate_limit.requests_per_minute" in refused.stderr
    assert "my-secret" not in refused.stderr


def test_the_access_log_tells_endpoints_and_no_names_as_json(folder: Path) -> None:
    with serve(folder, "--access-log", "--log-format", "json") as running:
        httpx.get(f"{running.url}{PROVIDERS}/a-name-of-its-own?key={KEY}", trust_env=False)
        httpx.get(f"{running.url}/nowhere/{KEY}", trust_env=False)
        running.end()
    log = (folder / "stderr.txt").read_text()
    found, lost = (json.loads(line) for line in log.splitlines())
    assert (found["logger"], found["level"], found["event"]) == (
        "orchestify.access",
        "INFO",
        "request",
    )
    assert (found["method"], found["path"]) == ("GET", f"{PROVIDERS}/{{id}}")
    assert (found["status"], found["tenant"], found["client"]) == (422, "default", "127.0.0.1")
    assert found["bytes"] > 0
    assert found["duration_s"] > 0
    assert (lost["path"], lost["status"], lost["tenant"]) == ("(none)", 404, "")
    assert KEY not in log
    assert "a-name-of-its-own" not in log


def test_where_telemetry_goes_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(folder, "--otel") as running:
        nowhere = running.said[-2]
        running.end()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:secret@127.0.0.1:9/x")
    with serve(folder, "--otel") as running:
        somewhere = running.said[-2]
    assert nowhere.split(maxsplit=1) == [
        "telemetry",
        "nothing is exported, for OTEL_EXPORTER_OTLP_ENDPOINT is not set",
    ]
    assert somewhere.split(maxsplit=1) == ["telemetry", "to http://127.0.0.1:9/x"]


@pytest.mark.parametrize(("signals", "grace"), [(1, "1"), (2, "60")])
def test_a_stream_at_the_end_is_waited_for_aloud_and_cut_without_a_traceback(
    folder: Path, signals: int, grace: str
) -> None:
    with StubServer.in_thread() as stub:
        slow = SLOW.replace("delay_s=2", "chunks=600;chunk_delay_s=0.05")
        (folder / "config.yaml").write_text(slow.replace("STUB", stub.url))
        with (
            serve(folder, "config.yaml", "--grace", grace) as running,
            httpx.Client(base_url=running.url, trust_env=False, timeout=30) as client,
            client.stream(
                "POST", "/v1/chat/completions", json={**_chat("agent:slow"), "stream": True}
            ) as answer,
        ):
            pieces = answer.iter_text()
            next(pieces)
            for _ in range(signals):
                running.process.send_signal(signal.SIGINT)
                time.sleep(0.5)
            rest = "".join(pieces)
            ended = running.process.wait(30)
            said = "".join(running.process.stdout or ())
    assert ended == 130
    assert f"ending: 1 request under way, at most {grace} s" in said
    assert "the service is ending" in rest
    assert "Traceback" not in (folder / "stderr.txt").read_text()


def test_serve_is_interrupted_with_130_and_says_nothing_on_stderr(folder: Path) -> None:
    with serve(folder) as running:
        ended = running.end(signal.SIGINT)
    assert ended == 130
    assert (folder / "stderr.txt").read_text() == ""


def test_serve_refuses_to_listen_beyond_loopback_without_a_token(folder: Path) -> None:
    refused = run("serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - it is refused
    assert refused.exit_code == 3
    assert "orchestify tokens create --tenant NAME --scope admin" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_serve_refuses_to_stand_behind_a_proxy_without_a_token(folder: Path) -> None:
    refused = run("serve", "--proxy", "127.0.0.1", "--port", "0")
    assert refused.exit_code == 3
    assert "--proxy: it would be open to everybody who reaches the proxy" in refused.stderr
    assert "orchestify tokens create --tenant NAME --scope admin" in refused.stderr


def test_with_a_token_serve_listens_everywhere_and_asks_for_it(folder: Path) -> None:
    token = last_line(run("tokens", "create", "--tenant", "acme", "--scope", "read"))
    with serve(folder, "--host", "0.0.0.0") as running:  # noqa: S104 - what is tested
        url = running.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - as above
        without = httpx.get(f"{url}{PROVIDERS}", trust_env=False)
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{url}{PROVIDERS}", headers=headers, trust_env=False)
        running.end()
    assert without.status_code == 401
    assert answer.json() == {"items": [], "next": None, "inherited": []}
    assert running.said[-1].split() == ["access", "with", "a", "token"]


def test_a_port_that_is_taken_is_said_in_a_line(folder: Path) -> None:
    with serve(folder) as running:
        port = running.url.rpartition(":")[2]
        refused = run("serve", "--port", port)
        running.end()
    assert refused.exit_code == 3
    assert f"--port {port}: cannot listen there: address already in use" in refused.stderr


def test_a_database_that_is_away_is_said_without_its_password(folder: Path) -> None:
    refused = run("serve", "--database", "postgresql://me:hush@127.0.0.1:1/none")
    assert refused.exit_code == 1
    assert "postgresql://me:***@127.0.0.1:1/none cannot be used" in refused.stderr
    assert "hush" not in refused.output


def test_serve_says_which_ledger_and_which_keys_it_does_not_use(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "config.yaml").write_text("ledger: {url: 'sqlite:///usage.db'}\nproviders: {}\n")
    monkeypatch.setitem(ENCRYPTION_KEYS, "ORCHESTIFY_ENCRYPTION_KEYS", "")
    with serve(folder, "config.yaml") as running:
        notes = [next(iter(running.process.stdout or ())) for _ in range(2)]
        running.end()
    assert "ledger.url is not used" in notes[0]
    assert "no encryption key is set" in notes[1]
    assert not (folder / "usage.db").exists()


def test_a_call_under_way_ends_before_the_service_does(folder: Path) -> None:
    with StubServer.in_thread() as stub:
        (folder / "config.yaml").write_text(SLOW.replace("STUB", stub.url))
        with (
            serve(folder, "config.yaml") as running,
            closing(httpx.Client(base_url=running.url, trust_env=False, timeout=30)) as client,
        ):
            ending = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, "-c", _END_LATER, str(running.process.pid)]
            )
            answer = client.post("/v1/chat/completions", json=_chat("agent:slow"))
            ended = running.process.wait(30)
            ending.wait(10)
    assert ended == 0
    assert answer.status_code == 200
    rows = sqlite_rows(folder / ".orchestify/service.db", "SELECT outcome FROM usage_records")
    assert rows == [("ok",)]


def test_a_stream_that_outlasts_the_grace_is_cut_and_booked(folder: Path) -> None:
    with StubServer.in_thread() as stub:
        slow = SLOW.replace("delay_s=2", "chunks=600;chunk_delay_s=0.05")
        (folder / "config.yaml").write_text(slow.replace("STUB", stub.url))
        with (
            serve(folder, "config.yaml", "--grace", "1") as running,
            httpx.Client(base_url=running.url, trust_env=False, timeout=30) as client,
            client.stream(
                "POST", "/v1/chat/completions", json={**_chat("agent:slow"), "stream": True}
            ) as answer,
        ):
            pieces = answer.iter_text()
            first = next(pieces)
            ended = running.end()
    assert first.startswith("data: ")
    assert ended == 0
    rows = sqlite_rows(folder / ".orchestify/service.db", "SELECT outcome FROM usage_records")
    assert rows == [("cancelled",)]


SLOW = """\
providers:
  slow: {type: openai, base_url: "STUB/v1", default_model: "gpt-4.1-mini;delay_s=2", api_key: any}
agents:
  slow: {provider: slow}
"""
_END_LATER = (
    "import os, signal, sys, time; time.sleep(0.7); os.kill(int(sys.argv[1]), signal.SIGTERM)"
)


def _chat(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": PROMPT}]}


def test_neither_keys_nor_prompts_nor_tokens_are_in_what_serve_says(folder: Path) -> None:
    token = last_line(run("tokens", "create", "--tenant", "acme", "--scope", "admin"))
    headers = {"Authorization": f"Bearer {token}"}
    with (
        StubServer.in_thread() as stub,
        serve(folder) as running,
        httpx.Client(base_url=running.url, headers=headers, trust_env=False) as client,
    ):
        config = {"base_url": f"{stub.url}/v1", "default_model": "gpt-4.1-mini"}
        body = {"provider_type": "openai", "api_key": KEY, "config": config}
        client.post(PROVIDERS, json=body)
        client.post("/v1/chat/completions", json=_chat("openai/gpt-4.1-mini"))
        client.post("/v1/chat/completions", json=_chat("nobody"))
        client.post(PROVIDERS, json={**body, "api_key": 7, KEY: KEY})
        client.get(PROVIDERS, headers={"Authorization": f"Bearer {token}x"})
        running.process.send_signal(signal.SIGTERM)
        said = "".join(running.process.stdout or ()) + (folder / "stderr.txt").read_text()
    held = b"".join(path.read_bytes() for path in (folder / ".orchestify").iterdir())
    for secret in (KEY, PROMPT, token.rpartition("_")[2]):
        assert secret not in said
        assert secret.encode() not in held


def test_tokens_are_made_listed_and_revoked(folder: Path) -> None:
    made = run(
        *("tokens", "create", "--tenant", "acme", "--scope", "call", "--scope", "read"),
        *("--name", "ci", "--expires-days", "30"),
    )
    token = last_line(made)
    listed = run("tokens", "list", "--json")
    (row,) = json.loads(listed.stdout)
    revoked = run("tokens", "revoke", row["id"])
    shown = run("tokens", "list", "--tenant", "acme")
    assert re.fullmatch(r"ork_[0-9a-f]{32}_[0-9a-f]{64}", token)
    assert (row["tenant_id"], row["name"], row["scopes"]) == ("acme", "ci", ["call", "read"])
    assert token.rpartition("_")[2] not in listed.stdout
    assert "is revoked" in revoked.stdout
    assert "revoked" in shown.stdout
    assert run("tokens", "list", "--tenant", "other", "--json").stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("create", "--tenant", "acme"), 2, "Missing option '--scope'"),
        (("create", "--tenant", "acme", "--scope", "all"), 2, "'all' is not one of"),
        (("create", "--tenant", "No Name", "--scope", "read"), 1, "tenant"),
    ],
    ids=str,
)
def test_what_tokens_cannot_do_is_said_in_a_line(
    folder: Path, args: tuple[str, ...], code: int, said: str
) -> None:
    refused = run("tokens", *args)
    assert refused.exit_code == code
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_token_that_does_not_exist_is_not_revoked(folder: Path) -> None:
    run("tokens", "create", "--tenant", "acme", "--scope", "read")
    refused = run("tokens", "revoke", "no-such-token")
    assert refused.exit_code == 1
    assert "there is no such token" in refused.stderr


def test_the_audit_log_is_shown_as_a_table_and_as_json(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run("tokens", "create", "--tenant", "acme", "--scope", "admin", "--name", "first")
    run("tokens", "create", "--tenant", "other", "--scope", "read")
    table = run("audit", "--since", "1h")
    entries = json.loads(run("audit", "--tenant", "acme", "--format", "json").stdout)
    (latest,) = json.loads(run("audit", "--limit", "1", "--format", "json").stdout)
    assert "token.create" in table.stdout
    assert [entry["action"] for entry in entries] == ["token.create"]
    assert entries[0]["actor"].startswith("cli:")
    assert entries[0]["detail"] == {"name": "first", "scopes": ["admin"]}
    assert latest["tenant_id"] == "other"
    assert run("audit", "--since", "tomorrow").exit_code == 2


@pytest.mark.parametrize(
    "args", [("tokens", "list"), ("tokens", "revoke", "any"), ("audit",)], ids=str
)
def test_what_only_reads_makes_no_database(folder: Path, args: tuple[str, ...]) -> None:
    refused = run(*args)
    assert refused.exit_code == 1
    assert f"there is no service's database at {folder}/.orchestify/service.db" in refused.stderr
    assert not (folder / ".orchestify").exists()


@pytest.mark.parametrize("args", [("serve",), ("tokens", "list"), ("audit",)], ids=str)
def test_without_the_extra_the_commands_say_what_to_install(
    folder: Path, args: tuple[str, ...]
) -> None:
    code = f"import sys; sys.modules['alembic'] = None; sys.argv[1:] = {list(args)}; "
    refused = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", f"{code}from orchestify.cli import main; main()"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "the service needs alembic: pip install " in refused.stderr
    assert '[server]"' in refused.stderr


def test_a_revoked_token_ends_at_a_running_service_within_a_second(folder: Path) -> None:
    token = last_line(run("tokens", "create", "--tenant", "acme", "--scope", "read"))
    (row,) = json.loads(run("tokens", "list", "--json").stdout)
    headers = {"Authorization": f"Bearer {token}"}
    with (
        serve(folder) as running,
        httpx.Client(base_url=running.url, headers=headers, trust_env=False) as client,
    ):
        before = client.get(PROVIDERS).status_code
        run("tokens", "revoke", row["id"])
        time.sleep(1.1)
        after = client.get(PROVIDERS).status_code
        running.end()
    assert (before, after) == (200, 401)
