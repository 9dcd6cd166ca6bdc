"""What a command imports, as facts about `sys.modules`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vaults import OLD, vault_at

CONFIG = """\
providers:
  main: {type: openai, api_key: a-made-up-key, default_model: gpt-4o, engine: mock}
agents:
  assistant: {provider: main}
"""
RUN = """\
import json, sys
from orchestify.cli import cli
try:
    cli(sys.argv[1:], prog_name="orchestify")
finally:
    sys.stderr.write("MODULES" + json.dumps(sorted(sys.modules)))
"""


def modules_after(*arguments: str) -> set[str]:
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.partition("MODULES")[2]))


@pytest.fixture(name="config")
def config_(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return str(path)


def test_help_imports_no_command_and_no_library_but_click() -> None:
    heavy = {
        "aiohttp",
        "asyncio",
        "cryptography",
        "litellm",
        "pydantic",
        "rich",
        "sqlalchemy",
        "yaml",
    }
    commands = {"orchestify.cli.ask", "orchestify.cli.check", "orchestify.cli.demo"}
    assert modules_after("--help") & (heavy | commands) == set()


@pytest.mark.parametrize(
    "command",
    ["ask", "check", "demo", "explain", "init", "keys", "models", "providers", "schema", "usage"],
)
def test_a_commands_help_imports_neither_configuration_nor_providers(command: str) -> None:
    assert modules_after(command, "--help") & {"aiohttp", "litellm", "pydantic", "yaml"} == set()


def test_check_imports_nothing_that_sends(config: str) -> None:
    heavy = {"cryptography", "litellm", "openai", "sqlalchemy"}
    assert modules_after("check", config) & heavy == set()


def test_a_vault_in_a_file_imports_no_database(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTIFY_ENCRYPTION_KEYS", OLD)
    with vault_at(str(Path(config).parent / ".orchestify" / "vault.json"), OLD) as vault:
        vault.set("main", "a-made-up-key")
    Path(config).write_text(CONFIG.replace("a-made-up-key", "vault:main"))
    modules = modules_after("check", config)
    assert modules & {"cryptography", "sqlalchemy"} == {"cryptography"}


@pytest.mark.parametrize("command", [["explain", "assistant"], ["models"], ["providers", "list"]])
def test_what_sends_nothing_imports_no_litellm(config: str, command: list[str]) -> None:
    assert modules_after(*command, "--config", config) & {"litellm", "sqlalchemy"} == set()


def test_asking_without_litellm_imports_neither_it_nor_a_database(config: str) -> None:
    modules = modules_after("ask", "assistant", "hello", "--config", config)
    assert modules & {"genai_prices", "litellm", "openai", "sqlalchemy"} == set()


def test_what_a_host_imports_brings_nothing_that_its_configuration_may_not_need() -> None:
    code = (
        "import sys; from orchestify import ProviderRegistry, load_config; "
        "print([name for name in ('aiohttp', 'cryptography', 'litellm', 'openai', 'sqlalchemy', "
        "'yaml') if name in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
