"""The encryption keys at the service's start: the right ones, some of them, none of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestify.errors import VaultError
from orchestify.server.startup_summary import startup_summary
from orchestify.testing import StubServer
from orchestify.vault.cipher import new_encryption_key
from tests.servers import ENCRYPTION_KEYS, PROVIDERS, serving

NAME = "ORCHESTIFY_ENCRYPTION_KEYS"
OTHERS = {NAME: new_encryption_key()}
BOTH = {NAME: f"{OTHERS[NAME]},{ENCRYPTION_KEYS[NAME]}"}
OPENAI = {"provider_type": "openai", "api_key": "sk-made-up-key-0123456789"}


async def store_a_key(folder: Path, environ: dict[str, str], tenant: str) -> None:
    async with serving(folder, environ=environ) as served:
        added = await served.ask("POST", PROVIDERS, served.token(tenant), json=OPENAI)
        assert added.status_code == 201


@pytest.mark.parametrize("environ", [OTHERS, {}])
async def test_a_service_whose_stored_keys_do_not_open_does_not_start(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    await store_a_key(tmp_path, ENCRYPTION_KEYS, "acme")
    with pytest.raises(VaultError, match=r"set the one that they are under in ORCHESTIFY_ENC"):
        async with serving(tmp_path, environ=environ):
            pytest.fail("it started")


async def test_what_opens_at_the_start_opens_after_a_key_was_added(tmp_path: Path) -> None:
    await store_a_key(tmp_path, ENCRYPTION_KEYS, "acme")
    await store_a_key(tmp_path, BOTH, "other")
    async with serving(tmp_path, environ=BOTH) as served:
        ready = await served.ask("GET", "/readyz")
    assert ready.json() == {"status": "ok", "reasons": []}


async def test_where_some_do_not_open_it_starts_and_says_so(tmp_path: Path) -> None:
    await store_a_key(tmp_path, ENCRYPTION_KEYS, "acme")
    await store_a_key(tmp_path, BOTH, "other")
    async with serving(tmp_path, environ=OTHERS) as served:
        ready = await served.ask("GET", "/readyz")
        notes = startup_summary(served.service).notes
        refused = await served.ask(
            "POST", PROVIDERS, served.token("acme"), json=OPENAI | {"name": "b"}
        )
        added = await served.ask("POST", PROVIDERS, served.token("new"), json=OPENAI)
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["reasons"][0].startswith("1 of 2 stored keys cannot be opened")
    assert notes[0].startswith("1 of 2 stored keys cannot be opened")
    assert (refused.status_code, added.status_code) == (503, 201)
    assert "do not open the keys that are stored" in refused.json()["detail"]


async def test_a_key_that_does_not_open_stops_none_of_the_operators_providers(
    tmp_path: Path,
) -> None:
    await store_a_key(tmp_path, ENCRYPTION_KEYS, "acme")
    async with StubServer() as stub:
        house = {
            "type": "openai",
            "base_url": stub.openai_url,
            "default_model": "m",
            "api_key": "any",
        }
        config = tmp_path / "config.yaml"
        config.write_text(f"providers: {{house: {house}}}".replace("'", ""))
        lost = {"environ": OTHERS, "config_path": config, "are_keys_lost": True}
        async with serving(tmp_path, **lost) as served:
            token = served.token("acme")
            asked = {"messages": [{"role": "user", "content": "hi"}]}
            answers = [
                await served.ask(
                    "POST", "/v1/chat/completions", token, json={"model": model, **asked}
                )
                for model in ("house/m", "openai/gpt-5.1")
            ]
    assert [each.status_code for each in answers] == [200, 503]
    assert "its key cannot be opened" in answers[1].json()["error"]["message"]
