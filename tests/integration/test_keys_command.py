"""`orchestify keys`, from the command line to the vault."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestify.cli import cli
from orchestify.providers.environment import ENV_PROVIDERS
from tests.vaults import FOREIGN, NEW, OLD, make_service, names, secrets, vault_at

KEY = "sk-made-up-0123456789"
OTHER = "sk-made-up-9876543210"
VAULT = "config/.orchestify/vault.json"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working one, an encryption key, and no other in the environment."""
    for name in {group for row in ENV_PROVIDERS for group in row.needs[0]}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORCHESTIFY_ENCRYPTION_KEYS", OLD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keys(*arguments: str, stdin: str = "", encryption_keys: str = "") -> Result:
    env = {"ORCHESTIFY_ENCRYPTION_KEYS": encryption_keys} if encryption_keys else {}
    return CliRunner().invoke(
        cli, ["keys", *arguments], prog_name="orchestify", input=stdin, env=env
    )


class TestSet:
    def test_a_key_from_standard_input_is_kept(self) -> None:
        result = keys("set", "claude_main", stdin=f"\n{KEY}\r\n")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[-1] == "in the YAML: api_key: vault:claude_main"
        assert KEY not in result.output
        with vault_at(VAULT, OLD) as vault:
            assert secrets(vault, *names(vault)) == {"claude_main": KEY}

    def test_what_was_set_is_what_a_configuration_sends(self, folder: Path) -> None:
        keys("set", "gpt", stdin=KEY)
        (folder / "config" / "providers.yaml").write_text(
            "providers: {gpt: {type: openai, api_key: vault:gpt, default_model: gpt-4o}}"
        )
        result = CliRunner().invoke(cli, ["check"])
        assert result.exit_code == 0
        assert "ok: 1 provider" in result.stdout

    @pytest.mark.parametrize("stdin", ["", "\n", "  \n"])
    def test_an_empty_key_is_refused(self, stdin: str) -> None:
        result = keys("set", "gpt", stdin=stdin)
        assert result.exit_code == 1
        assert "the key for 'gpt' is empty; nothing was changed" in result.stderr
        assert not Path(VAULT).exists()

    @pytest.mark.parametrize("stdin", ["sk-one sk-two", f"Bearer {KEY}", "sk-\x7f", "sk-ü"])
    def test_what_no_configuration_takes_is_refused(self, stdin: str) -> None:
        result = keys("set", "gpt", stdin=stdin)
        assert result.exit_code == 1
        assert "the key for 'gpt' is none" in result.stderr
        assert not Path(VAULT).exists()

    def test_its_folder_is_the_owners_and_kept_out_of_git(self) -> None:
        keys("set", "gpt", stdin=KEY)
        folder = Path(VAULT).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (folder / ".gitignore").read_text() == "*\n"

    def test_two_lines_are_refused(self) -> None:
        result = keys("set", "gpt", stdin=f"{KEY}\n{OTHER}\n")
        assert result.exit_code == 1
        assert KEY not in result.output

    def test_a_key_on_the_command_line_is_refused_and_not_shown(self) -> None:
        result = keys("set", "gpt", KEY, stdin=OTHER)
        assert result.exit_code == 2
        assert "a key is not given on the command line" in result.stderr
        assert KEY not in result.output
        assert not Path(VAULT).exists()

    def test_a_key_in_the_place_of_a_name_is_refused_and_not_shown(self) -> None:
        result = keys("set", f"{KEY}/+", stdin=OTHER)
        assert result.exit_code == 1
        assert KEY not in result.output

    def test_without_an_encryption_key_it_says_how_to_get_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("ORCHESTIFY_ENCRYPTION_KEYS")
        result = keys("set", "gpt", stdin=KEY)
        assert result.exit_code == 1
        assert "VaultError: no encryption key is set; put it into" in result.stderr
        assert not Path(VAULT).exists()

    def test_a_terminal_is_asked_and_does_not_show_what_is_typed(self, folder: Path) -> None:
        shown = type_into([sys.executable, "-m", "orchestify", "keys", "set", "gpt"], KEY)
        assert shown.startswith("Key: ")
        assert KEY not in shown
        with vault_at(VAULT, OLD) as vault:
            assert secrets(vault, "gpt") == {"gpt": KEY}


class TestWhere:
    @pytest.mark.parametrize("where", ["mine.json", "sqlite:///mine.db"])
    def test_an_option_names_the_vault(self, where: str) -> None:
        assert keys("set", "gpt", "--vault", where, stdin=KEY).exit_code == 0
        assert keys("list", "--vault", where).stdout.count("gpt") == 1
        assert not Path(VAULT).exists()

    def test_a_variable_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ORCHESTIFY_VAULT", "mine.json")
        keys("set", "gpt", stdin=KEY)
        assert Path("mine.json").exists()

    def test_it_is_beside_the_configuration(self) -> None:
        keys("set", "gpt", "--config", "prod", stdin=KEY)
        keys("set", "gpt", "--config", "test/all.yaml", stdin=KEY)
        assert Path("prod/.orchestify/vault.json").exists()
        assert Path("test/.orchestify/vault.json").exists()


class TestList:
    def test_it_shows_names_fingerprints_and_encryption_keys(self) -> None:
        keys("set", "gpt", stdin=KEY)
        result = keys("list", "--json")
        with vault_at(VAULT, OLD) as vault:
            (row,) = vault.list()
            fingerprint, encryption_key = vault.cipher().fingerprint_of(KEY), vault.cipher().keys[0]
        stored = {
            "name": "gpt",
            "set_at": row.set_at.isoformat(),
            "fingerprint": fingerprint,
            "key": {
                "fingerprint": encryption_key.fingerprint,
                "places": ["ORCHESTIFY_ENCRYPTION_KEYS, key 1"],
            },
        }
        assert json.loads(result.stdout) == [{"where": VAULT, "keys": [stored], "tenants_keys": []}]
        shown = keys("list").stdout
        assert fingerprint in shown
        assert f"key 1 ({encryption_key.fingerprint})" in shown
        assert KEY not in result.stdout

    def test_it_shows_what_no_key_opens(self) -> None:
        keys("set", "gpt", stdin=KEY)
        assert "no encryption key that is set" in keys("list", encryption_keys=FOREIGN).stdout

    def test_without_a_vault_there_is_nothing(self) -> None:
        assert keys("list").stdout == f"no keys in {VAULT}\n"
        assert json.loads(keys("list", "--json").stdout) == [
            {"where": VAULT, "keys": [], "tenants_keys": []}
        ]


class TestGenerate:
    def test_the_key_is_on_the_last_line_and_works(self) -> None:
        result = keys("generate")
        generated = result.stdout.splitlines()[-1]
        assert keys("set", "gpt", stdin=KEY, encryption_keys=generated).exit_code == 0
        with vault_at(VAULT, generated) as vault:
            assert secrets(vault, "gpt") == {"gpt": KEY}

    def test_how_to_set_it_is_above(self) -> None:
        shown = keys("generate").stdout
        steps = ['="OLD,KEY"', '="KEY,OLD"', "`orchestify keys rotate`", '="KEY"\nIt is shown']
        assert sorted(steps, key=shown.index) == steps
        assert "Keep it: without it every stored key is lost" in shown


class TestRotate:
    def test_it_says_which_keys_may_be_dropped(self) -> None:
        keys("set", "gpt", stdin=KEY)
        with vault_at(VAULT, NEW, OLD) as vault:
            newest, old = vault.cipher().keys
        result = keys("rotate", encryption_keys=f"{NEW},{OLD}")
        assert result.exit_code == 0
        assert result.stdout.splitlines() == [
            f"re-encrypted 1 of 1 key in {VAULT}",
            "the newest encryption key is ORCHESTIFY_ENCRYPTION_KEYS, key 1 "
            f"({newest.fingerprint})",
            "may be dropped, for nothing here is under them (older backups still are):",
            f"  ORCHESTIFY_ENCRYPTION_KEYS, key 2 ({old.fingerprint})",
        ]

    def test_what_no_key_opens_stops_it(self) -> None:
        keys("set", "gpt", stdin=KEY)
        result = keys("rotate", encryption_keys=NEW)
        assert result.exit_code == 1
        assert f"opens 1 of 1 keys in {VAULT}: gpt; nothing was changed" in result.stderr

    def test_the_services_database_is_rotated(self, folder: Path) -> None:
        make_service(f"sqlite:///{folder}/service.db")
        result = keys("rotate", "--vault", "sqlite:///service.db")
        assert result.exit_code == 0
        assert result.stdout.endswith("/service.db; nothing to rotate\n")


class TestRemove:
    def test_it_asks_first(self) -> None:
        keys("set", "gpt", stdin=KEY)
        assert keys("remove", "gpt", stdin="n\n").exit_code == 1
        with vault_at(VAULT, OLD) as vault:
            assert names(vault) == ["gpt"]

    def test_a_yes_is_enough(self) -> None:
        keys("set", "gpt", stdin=KEY)
        assert keys("remove", "gpt", stdin="y\n").exit_code == 0
        assert keys("list").stdout == f"no keys in {VAULT}\n"

    def test_a_missing_key_is_an_error(self) -> None:
        keys("set", "gpt", stdin=KEY)
        result = keys("remove", "claude", "--yes")
        assert result.exit_code == 1
        assert f"no such key in the vault {VAULT}" in result.stderr

    def test_without_a_vault_none_is_made(self) -> None:
        assert keys("remove", "claude", "--yes").exit_code == 1
        assert not Path(VAULT).parent.exists()


class TestImport:
    def test_it_takes_what_the_environment_holds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("GROK_API_KEY", OTHER)
        result = keys("import")
        assert result.exit_code == 0
        assert result.stdout.splitlines() == [
            f"2 keys put into {VAULT}",
            "  OPENAI_API_KEY; in the YAML: api_key: vault:openai",
            "  GROK_API_KEY; in the YAML: api_key: vault:xai",
        ]
        with vault_at(VAULT, OLD) as vault:
            assert secrets(vault, *names(vault)) == {"openai": KEY, "xai": OTHER}

    def test_what_is_there_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keys("set", "openai", stdin=KEY)
        monkeypatch.setenv("OPENAI_API_KEY", OTHER)
        assert "  OPENAI_API_KEY: left, openai is in the vault" in keys("import").stdout
        with vault_at(VAULT, OLD) as vault:
            assert secrets(vault, "openai") == {"openai": KEY}

    def test_what_is_there_is_replaced_when_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keys("set", "openai", stdin=KEY)
        monkeypatch.setenv("OPENAI_API_KEY", OTHER)
        keys("import", "--replace")
        with vault_at(VAULT, OLD) as vault:
            assert secrets(vault, "openai") == {"openai": OTHER}

    def test_of_an_empty_environment_makes_no_vault(self) -> None:
        assert keys("import").stdout.startswith("no provider's key in the environment; ")
        assert not Path(VAULT).exists()


def type_into(command: list[str], typed: str) -> str:
    """Run a command on a terminal, type a line at its prompt, and return what it showed."""
    ours, its = pty.openpty()
    with subprocess.Popen(  # noqa: S603 - our own code
        command, stdin=its, stdout=its, stderr=its, start_new_session=True
    ) as process:
        os.close(its)
        shown = ""
        while not shown.endswith("Key: "):
            shown += os.read(ours, 1024).decode()
        os.write(ours, f"{typed}\n".encode())
        shown += read_to_end(ours)
        assert process.wait() == 0, shown
    os.close(ours)
    return shown


def read_to_end(terminal: int) -> str:
    """What a terminal shows until the last process has left it."""
    parts = []
    try:
        while part := os.read(terminal, 1024):
            parts.append(part.decode())
    except OSError:  # as Linux says that nobody is there any more
        pass
    return "".join(parts)
