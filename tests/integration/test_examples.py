"""Each program of `examples/` runs as it stands, against the stub server."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from orchestify.testing import Reply, StubServer
from orchestify.values import Usage

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def stub() -> Iterator[StubServer]:
    with StubServer.in_thread() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the examples, so that their ledger is a test's own, and keys for them."""
    monkeypatch.setenv("OPENAI_API_KEY", "made-up-key-of-openai")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "made-up-key-of-anthropic")
    monkeypatch.setenv("OPENAI_BASE_URL", stub.openai_url)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", stub.anthropic_url)
    ours = shutil.ignore_patterns(".orchestify", "__pycache__")
    return Path(shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=ours))


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(  # noqa: S603 - the examples' own
        [sys.executable, *command],
        cwd=cwd,
        env=os.environ | {"PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_script_says_what_it_used(folder: Path, stub: StubServer) -> None:
    told = run("script.py", cwd=folder)
    assert told.startswith("gpt-4.1-mini read 5 words.\n")
    assert "'calls': 2" in told
    assert stub.account.received == 2


def test_a_pools_processes_book_in_one_ledger(folder: Path, stub: StubServer) -> None:
    told = run("process_pool.py", cwd=folder)
    assert told.startswith("20 texts summarized\n[('nightly', '0.00")
    assert stub.account.received == 20


def test_ten_agents_end_where_the_runs_budget_does(folder: Path, stub: StubServer) -> None:
    stub.respond = lambda _: Reply(usage=Usage(input_tokens=10, output_tokens=500))  # 0.000804 USD
    told = run("ten_agents.py", "0.01", cwd=folder)
    assert "steps, then no money left in the scope" in told
    assert "BudgetThreshold(budget='scope', share=0.5" in told
    assert stub.account.received == 12


def test_an_own_provider_is_in_the_account(folder: Path, stub: StubServer) -> None:
    told = run("own_provider.py", cwd=folder).splitlines()
    assert told[:2] == ["table: I am the table.", "openai: gpt-4.1-mini read 4 words."]
    assert sorted(told[2:]) == [
        "claude 0 calls, 0 failed",
        "openai 1 calls, 0 failed",
        "table 1 calls, 1 failed",
    ]


def test_the_tests_of_a_host_pass(folder: Path) -> None:
    scope = "asyncio_default_fixture_loop_scope=function"
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", scope, "test_agent.py")
    assert "4 passed" in run(*command, cwd=folder)


async def test_the_notebooks_cells_run_in_order(
    folder: Path, stub: StubServer, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for cell in json.loads((folder / "notebook.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            code = compile("".join(cell["source"]), "notebook", "exec", flags, dont_inherit=True)
            made = eval(code, names)  # noqa: S307 - the notebook's own
            if asyncio.iscoroutine(made):
                await made
    assert "gpt-4.1-mini read 5 words." in capsys.readouterr().out
    assert stub.account.received == 5


@pytest.fixture
def web(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "fastapi_app", raising=False)
    from fastapi_app import app  # noqa: PLC0415 - the folder is a test's own

    with TestClient(app) as client:
        yield client


def test_the_application_answers_and_tells_what_users_cost(web: TestClient) -> None:
    question = {"text": "Two words", "user": "ada"}
    answer = web.post("/answers", json=question).json()
    streamed = web.post("/streams", json=question).text
    assert answer["text"] == streamed == "gpt-4.1-mini read 2 words."
    assert [row["user"] for row in web.get("/costs").json()] == ["ada"]


def test_the_application_tells_a_spent_budget_from_a_failing_provider(
    web: TestClient, stub: StubServer
) -> None:
    stub.respond = lambda _: Reply(status=401, error="no")
    failed = web.post("/answers", json={"text": "Two words", "user": "ada"})
    assert failed.status_code == 502
