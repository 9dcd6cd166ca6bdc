"""`api_key: vault:NAME` in a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestify.core.config import (
    AgentConfig,
    ConfigError,
    ProviderConfig,
    load_config,
    parse_config,
)
from orchestify.core.providers import AlreadySubstituted
from orchestify.vault import open_vault
from tests.vaults import FOREIGN, OLD, environ

CONFIG = """\
providers:
  claude:
    type: anthropic
    api_key: vault:claude_main
    default_model: claude-sonnet-4-5
agents:
  own:
    provider: claude
    api_key: vault:own
"""
MOCK = "{type: mock, api_key: %s, enabled: %s}"


@pytest.fixture(name="folder")
def folder_(tmp_path: Path) -> Path:
    """A configuration's folder with a vault of two keys."""
    vault = open_vault(base_dir=tmp_path, environ=environ(OLD))
    vault.add({"claude_main": "sk-1", "own": "${NOT_A_VARIABLE}"})
    (tmp_path / "providers.yaml").write_text(CONFIG.partition("agents:")[0])
    (tmp_path / "agents.yaml").write_text("agents:" + CONFIG.partition("agents:")[2])
    return tmp_path


def problems(folder: Path, text: str, **variables: str) -> tuple[str, ...]:
    path = folder / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ=variables)
    return tuple(line.replace(str(folder), ".") for line in caught.value.problems)


def mock(folder: Path, key: str, enabled: str, **variables: str) -> ProviderConfig:
    path = folder / "c.yaml"
    path.write_text(f"providers: {{p: {MOCK % (key, enabled)}}}")
    return load_config(path, environ=variables).providers.providers["p"]


class TestTheKeyIsTaken:
    def test_for_each_of_several(self, folder: Path) -> None:
        text = "providers: {p: {type: mock, api_keys: [vault:claude_main, '${A}', vault:own]}}"
        (folder / "c.yaml").write_text(text)
        config = load_config(folder / "c.yaml", environ={**environ(OLD), "A": "sk-2"})
        keys = [each.get_secret_value() for each in config.providers.providers["p"].keys]
        assert keys == ["sk-1", "sk-2", "${NOT_A_VARIABLE}"]

    def test_for_none_of_a_provider_that_is_off_without_one(self, folder: Path) -> None:
        text = "providers: {p: {type: mock, enabled: auto, api_keys: [vault:absent, a, vault:own]}}"
        (folder / "c.yaml").write_text(text)
        config = load_config(folder / "c.yaml", environ=environ(OLD))
        assert config.providers.off == {"p": "vault:absent is not set"}

    def test_for_a_provider_and_an_agent(self, folder: Path) -> None:
        config = load_config(folder, environ=environ(OLD))
        assert config.providers.providers["claude"].api_key == SecretStr("sk-1")
        assert config.agents.agents["own"].api_key == SecretStr("${NOT_A_VARIABLE}")

    def test_from_the_vault_beside_a_single_file(self, folder: Path) -> None:
        assert mock(folder, "vault:claude_main", "true", **environ(OLD)).api_key == SecretStr(
            "sk-1"
        )

    @pytest.mark.parametrize("where", ["elsewhere.json", "sqlite:///elsewhere.db"])
    def test_from_where_the_environment_says(
        self, folder: Path, where: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder)
        vault = open_vault(where, environ=environ(OLD))
        vault.set("claude_main", "sk-2")
        vault.close()
        there = {**environ(OLD), "ORCHESTIFY_VAULT": where}
        assert mock(folder, "vault:claude_main", "true", **there).api_key == SecretStr("sk-2")

    def test_for_a_text_beside_the_current_folder(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder)
        config = parse_config(CONFIG, environ=environ(OLD))
        assert config.providers.providers["claude"].api_key == SecretStr("sk-1")

    def test_for_a_provider_built_in_code(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("ORCHESTIFY_ENCRYPTION_KEYS", OLD)
        assert ProviderConfig(type="mock", api_key="vault:own").api_key == SecretStr(
            "${NOT_A_VARIABLE}"
        )
        with pytest.raises(ConfigError, match=r"^ProviderConfig.api_key: no key 'none' in the "):
            ProviderConfig(type="mock", api_key="vault:none")

    def test_with_a_merge_key(self, folder: Path) -> None:
        text = "x-base: &base {type: mock, api_key: vault:own}\nproviders: {p: {<<: *base}}"
        (folder / "c.yaml").write_text(text)
        config = load_config(folder / "c.yaml", environ=environ(OLD))
        assert config.providers.providers["p"].api_key == SecretStr("${NOT_A_VARIABLE}")

    def test_it_shows_nowhere(self, folder: Path) -> None:
        config = load_config(folder, environ=environ(OLD))
        assert "sk-1" not in f"{config!r} {config.model_dump()} {config.model_dump_json()}"


class TestWhatIsWrongIsTold:
    def test_at_each_keys_own_line_beside_other_problems(self, folder: Path) -> None:
        text = CONFIG.replace("claude_main", "claude_mian").replace("vault:own", "vault:other")
        assert problems(folder, text + "    top_p: 2\n", **environ(OLD)) == (
            "./c.yaml:4:5: providers.claude.api_key: no key 'claude_mian' in the vault "
            "./.orchestify/vault.json; `orchestify keys set claude_mian` sets it; "
            "did you mean 'claude_main'?",
            "./c.yaml:9:5: agents.own.api_key: no key 'other' in the vault "
            "./.orchestify/vault.json; `orchestify keys set other` sets it",
            "./c.yaml:10:5: agents.own.top_p: expected a number of at most 1",
        )

    def test_without_a_vault(self, tmp_path: Path) -> None:
        assert problems(tmp_path, f"providers: {{p: {MOCK % ('vault:own', 'true')}}}") == (
            "./c.yaml:1:29: providers.p.api_key: there is no vault at ./.orchestify/vault.json; "
            "`orchestify keys set own` makes it",
        )

    def test_without_an_encryption_key(self, folder: Path) -> None:
        missing = (
            "in the vault ./.orchestify/vault.json: no encryption key is set; put it into "
            "ORCHESTIFY_ENCRYPTION_KEYS (`orchestify keys generate` makes one for a new vault)"
        )
        assert problems(folder, CONFIG) == (
            f"./c.yaml:4:5: providers.claude.api_key: 'claude_main' {missing}",
            f"./c.yaml:9:5: agents.own.api_key: 'own' {missing}",
        )

    def test_with_a_wrong_encryption_key(self, folder: Path) -> None:
        assert problems(folder, CONFIG, **environ(FOREIGN))[0] == (
            "./c.yaml:4:5: providers.claude.api_key: 'claude_main' in the vault "
            "./.orchestify/vault.json: no encryption key that is set opens it"
        )

    def test_with_what_is_no_encryption_key(self, folder: Path) -> None:
        assert problems(folder, CONFIG, **environ("made-up"))[0].endswith(
            ": ORCHESTIFY_ENCRYPTION_KEYS, key 1, is not 32 bytes in urlsafe base64; "
            "`orchestify keys generate` makes one"
        )

    def test_with_a_vault_that_others_may_read(self, folder: Path) -> None:
        (folder / ".orchestify" / "vault.json").chmod(0o644)
        found = problems(folder, CONFIG, **environ(OLD))
        assert [line.partition("key: ")[2] for line in found] == [
            "./.orchestify/vault.json may be used by others than its owner (mode 644); "
            "run: chmod 600 ./.orchestify/vault.json"
        ] * 2

    def test_with_an_address_of_no_database(self, folder: Path) -> None:
        there = {**environ(OLD), "ORCHESTIFY_VAULT": "mysql://host/vault"}
        assert problems(folder, CONFIG, **there)[0] == (
            "./c.yaml:4:5: providers.claude.api_key: the vault's address is neither "
            "sqlite:///path/to/file.db nor postgresql://user@host/database"
        )

    @pytest.mark.parametrize("name", ["'vault:'", "vault:a b", "'vault:${NAME}'", "'vault:a\\n'"])
    def test_with_a_name_that_is_none(self, folder: Path, name: str) -> None:
        (line,) = problems(
            folder, f"providers: {{p: {MOCK % (name, 'true')}}}", NAME="own", **environ(OLD)
        )
        assert line.startswith(
            "./c.yaml:1:29: providers.p.api_key: a key of the vault is written vault:NAME, "
        )


class TestAProviderThatMayBeOff:
    def test_is_off_where_the_vault_lacks_its_key(self, folder: Path) -> None:
        provider = mock(folder, "vault:other", "auto", **environ(OLD))
        assert provider.off_reason == "vault:other is not set"

    def test_is_off_where_there_is_no_vault(self, tmp_path: Path) -> None:
        assert mock(tmp_path, "vault:other", "auto").off_reason == "vault:other is not set"

    def test_is_on_with_its_key(self, folder: Path) -> None:
        assert mock(folder, "vault:own", "auto", **environ(OLD)).is_enabled

    def test_is_not_off_for_an_encryption_key_that_is_missing(self, folder: Path) -> None:
        assert len(problems(folder, f"providers: {{p: {MOCK % ('vault:own', 'auto')}}}")) == 1

    def test_does_not_ask_the_vault_when_it_is_off_anyway(self, folder: Path) -> None:
        (folder / ".orchestify" / "vault.json").chmod(0o644)
        assert mock(folder, "vault:own", "false").off_reason == "enabled: false"


class TestAValueIsNeverAReference:
    REFUSED = "providers.p.api_key: a key does not begin with vault:; only YAML itself may say "

    @pytest.mark.parametrize(
        "key", ['"${REFERENCE}"', '"${UNSET:-vault:own}"', "env:REFERENCE", '" vault:own"']
    )
    def test_from_a_variable(self, folder: Path, key: str) -> None:
        (line,) = problems(
            folder,
            f"providers: {{p: {MOCK % (key, 'true')}}}",
            REFERENCE="vault:own",
            **environ(OLD),
        )
        assert line == f"./c.yaml:1:29: {self.REFUSED}vault:NAME"

    def test_in_values_that_are_data(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("ORCHESTIFY_ENCRYPTION_KEYS", OLD)
        with pytest.raises(ConfigError, match="a key does not begin with vault:"):
            ProviderConfig.model_validate(
                {"type": "mock", "api_key": "vault:own"}, context=AlreadySubstituted()
            )

    def test_in_an_agent_built_in_code(self) -> None:
        with pytest.raises(ConfigError, match="a key does not begin with vault:"):
            AgentConfig(provider="p", api_key="vault:own")
