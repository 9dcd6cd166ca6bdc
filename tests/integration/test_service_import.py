"""Importing providers of another service: over REST, and by `orchestify serve --import`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet

from orchestify.cli import cli
from orchestify.errors import ConfigError
from orchestify.server.rows.provider_records import read_records
from orchestify.server.startup_summary import startup_summary
from orchestify.testing import StubServer
from tests.lanes import KEY
from tests.servers import PROVIDERS, serving

IMPORT = f"{PROVIDERS}:import"
THEIR_KEY = "-_-_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
ENVIRON = {"LLM_ENCRYPTION_KEY": THEIR_KEY.replace("-", "+").replace("_", "/")}
CALL = {"model": "openai/m", "messages": [{"role": "user", "content": "hi"}]}


def encrypted(key: str = KEY) -> str:
    """A key as the other service's table holds it."""
    return Fernet(THEIR_KEY).encrypt(key.encode()).decode()


def record(stub: StubServer, **more: Any) -> dict[str, Any]:
    config = {"base_url": stub.openai_url, "default_model": "m"}
    return {"tenant_id": "acme", "provider_type": "openai", "config": config, **more}


def write(folder: Path, document: object) -> Path:
    (folder / "llm_providers.json").write_text(json.dumps(document))
    return Path("llm_providers.json")


async def test_what_is_imported_over_rest_can_be_called(tmp_path: Path) -> None:
    async with StubServer() as stub, serving(tmp_path) as served:
        token = served.token("acme")
        given = {"records": [record(stub, api_key=KEY), record(stub, api_key=KEY, name="b")]}
        first = await served.ask("POST", IMPORT, token, json=given)
        second = await served.ask("POST", IMPORT, token, json=given)
        answer = await served.ask("POST", "/v1/chat/completions", token, json=CALL)
    names = ["openai", "b"]
    assert first.json() == {"items": [{"name": each, "result": "added"} for each in names]}
    assert second.json() == {"items": [{"name": each, "result": "kept"} for each in names]}
    assert answer.status_code == 200


async def test_over_rest_all_or_none_and_no_key_in_what_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with StubServer() as stub, serving(tmp_path) as served:
        token = served.token("acme")
        given = [
            record(stub, api_key=KEY),
            record(stub, api_key=KEY, name="b", config={"headers": {"x": KEY}}),
            record(stub, name="c", encrypted_api_key=encrypted()),
            record(stub, api_key=KEY, tenant_id="other", name="d"),
        ]
        refused = await served.ask("POST", IMPORT, token, json={"records": given})
        typed = await served.ask("POST", IMPORT, token, json={"records": [{"api_key": [KEY]}]})
        listed = await served.ask("GET", PROVIDERS, token)
    assert refused.status_code == 422
    assert [line.partition(": ")[0] for line in refused.json()["problems"]] == [
        "records.2.encrypted_api_key",
        "records.3.tenant_id",
        "records.1.config.headers.x",
    ]
    assert typed.json()["problems"] == [
        "body.records.0.provider_type: missing",
        "body.records.0.api_key: expected text",
    ]
    assert listed.json()["items"] == []
    assert KEY not in refused.text + typed.text + caplog.text


@pytest.mark.parametrize("form", ["list", "table"])
async def test_a_file_is_imported_before_it_serves_once(tmp_path: Path, form: str) -> None:
    async with StubServer() as stub:
        rows = [record(stub, encrypted_api_key=encrypted()), record(stub, tenant_id="zeta")]
        path = write(tmp_path, rows if form == "list" else {"llm_providers": rows})
        async with serving(tmp_path, environ=ENVIRON, import_path=path) as served:
            token = served.token("acme")
            answer = await served.ask("POST", "/v1/chat/completions", token, json=CALL)
            (row,) = (await served.ask("GET", PROVIDERS, token)).json()["items"]
            first = startup_summary(served.service, ENVIRON).imported
        async with serving(tmp_path, environ=ENVIRON, import_path=path) as served:
            second = startup_summary(served.service, ENVIRON).imported
    assert (answer.status_code, row["has_key"]) == (200, True)
    assert first == "2 of 2 records of llm_providers.json; the others were there before"
    assert second == "0 of 2 records of llm_providers.json; the others were there before"


async def test_what_the_environment_lacks_is_a_note(tmp_path: Path) -> None:
    environ = {**ENVIRON, "AZURE_OPENAI_API_KEY": KEY}
    async with serving(tmp_path, environ=environ) as served:
        found = startup_summary(served.service, environ)
    assert found.environment == (
        "from the environment, for want of CONFIG: encryption (LLM_ENCRYPTION_KEY)"
    )
    assert found.notes == (
        "azure is not served, for want of AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_DEPLOYMENT",
    )


async def test_it_does_not_start_with_a_file_that_is_wrong(tmp_path: Path) -> None:
    async with StubServer() as stub:
        path = write(tmp_path, [record(stub), record(stub, name="b", encrypted_api_key="gAAAA")])
        with pytest.raises(ConfigError) as caught:
            async with serving(tmp_path, environ=ENVIRON, import_path=path):
                pytest.fail("it started")
        async with serving(tmp_path, environ=ENVIRON) as served:
            listed = await served.ask("GET", PROVIDERS, served.token("acme"))
    assert caught.value.problems == (
        "records.1.encrypted_api_key: no encryption key that is set opens it",
    )
    assert listed.json()["items"] == []


def test_the_command_tells_each_record_and_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, [{"tenant_id": "acme", "provider_type": "opnai", "api_key": KEY}])
    monkeypatch.setenv("LLM_ENCRYPTION_KEY", ENVIRON["LLM_ENCRYPTION_KEY"])
    refused = CliRunner().invoke(cli, ["serve", "--port", "0", "--import", str(path)])
    assert refused.exit_code == 3
    assert "records.0.provider_type: expected one of" in refused.stderr
    assert "did you mean 'openai'?" in refused.stderr
    assert KEY not in refused.output


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "llm_providers.json:1:2: it is no JSON: expecting property name enclosed in dou"),
        ('["sk-secret"', "llm_providers.json:1:13: it is no JSON: expecting ',' delimiter"),
        ("{}", "llm_providers.json: expected a list of records, or one under llm_providers"),
        ("[1]", "records.0: expected"),
        ('[{"provider_type": 1, "ap_key": "sk-secret"}]', "records.0.provider_type: expected te"),
        ("\xff", "llm_providers.json: it is no JSON"),
        ("[" * 100_000, "llm_providers.json: it is no JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_without_what_it_holds(
    tmp_path: Path, text: str, what: str
) -> None:
    path = tmp_path / "llm_providers.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        read_records(path)
    assert what in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: is a directory"):
        read_records(tmp_path)
