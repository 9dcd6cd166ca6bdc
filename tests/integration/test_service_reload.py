"""`orchestify serve CONFIG` whose configuration changes: on its own and on SIGHUP."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestify import ConfigError, ConfigRefused, ConfigReloaded
from orchestify.testing import StubServer
from tests.integration.test_service_commands import serve
from tests.servers import PROVIDERS, Served, serving
from tests.tenants import TEST, agent, operators, tenanted

FIRST = {"first": {"type": "mock", "default_model": "one"}}
SECOND = {"second": {"type": "mock", "default_model": "two"}}


def write(path: Path, **config: Any) -> None:
    path.write_text(json.dumps(config))


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


class TestServe:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        return tmp_path

    @pytest.fixture
    def stub(self) -> Iterator[StubServer]:
        with StubServer.in_thread() as stub:
            yield stub

    def test_a_changed_file_is_in_force_after_sighup_and_calls_under_way_end(
        self, folder: Path, stub: StubServer
    ) -> None:
        slow = {"type": "openai", "base_url": stub.openai_url, "api_key": "any"}
        slow["default_model"] = "gpt-4.1-mini;chunks=80;chunk_delay_s=0.05"
        write(folder / "config.yaml", providers={"slow": slow}, agents={"a": {"provider": "slow"}})
        body = {"model": "agent:a", "messages": [{"role": "user", "content": "hi"}]}
        with (
            serve(folder, "config.yaml") as running,
            httpx.Client(base_url=running.url, trust_env=False, timeout=30) as client,
            client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as answer,
        ):
            pieces = answer.iter_text()
            assert "data: " in next(pieces)
            write(folder / "config.yaml", providers=SECOND)
            running.process.send_signal(signal.SIGHUP)
            with httpx.Client(base_url=running.url, trust_env=False) as other:
                wait_until(lambda: names(other) == ["second/two"])
            rest = "".join(pieces)
            gone = client.post("/v1/chat/completions", json=body)
            assert running.end() == 0
        assert rest.rstrip().endswith("data: [DONE]")
        assert gone.status_code == 404
        assert (
            "config_reloaded providers=slow; second agents=a" in (folder / "stderr.txt").read_text()
        )

    def test_a_changed_file_is_taken_up_without_a_signal(self, folder: Path) -> None:
        write(folder / "config.yaml", providers=FIRST)
        with (
            serve(folder, "config.yaml") as running,
            httpx.Client(base_url=running.url, trust_env=False) as client,
        ):
            assert names(client) == ["first/one"]
            write(folder / "config.yaml", providers=SECOND)
            wait_until(lambda: names(client) == ["second/two"])

    def test_a_bad_file_keeps_the_old_one_and_is_told_at_its_line(self, folder: Path) -> None:
        write(folder / "config.yaml", providers=FIRST)
        said = folder / "stderr.txt"
        with (
            serve(folder, "config.yaml") as running,
            httpx.Client(base_url=running.url, trust_env=False) as client,
        ):
            (folder / "config.yaml").write_text("providers:\n  it: {type: mock, modle: x}\n")
            running.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "config_refused" in said.read_text())
            assert names(client) == ["first/one"]
            assert running.end() == 0
        assert "config.yaml:2:20: providers.it.modle: unknown key" in said.read_text()

    def test_without_a_configuration_sighup_changes_nothing(self, folder: Path) -> None:
        with (
            serve(folder) as running,
            httpx.Client(base_url=running.url, trust_env=False) as client,
        ):
            running.process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            assert client.get("/healthz").status_code == 200
            assert running.end() == 0


def names(client: httpx.Client) -> list[str]:
    return sorted(each["id"] for each in client.get("/v1/models").json()["data"])


class TestService:
    @pytest.fixture
    async def served(self, tmp_path: Path) -> AsyncIterator[Served]:
        write(tmp_path / "config.yaml", providers=FIRST, stream_timeout_s=9)
        async with serving(tmp_path, config_path=Path("config.yaml")) as served:
            yield served

    async def test_it_says_what_has_changed(self, served: Served, tmp_path: Path) -> None:
        write(tmp_path / "config.yaml", providers=SECOND, stream_timeout_s=9)
        change = await served.service.reload()
        assert change == ConfigReloaded(("first", "second"))
        assert served.service.models_of == {"second": ["two"]}

    async def test_another_ledger_is_refused(self, served: Served, tmp_path: Path) -> None:
        told: list[ConfigRefused] = []
        served.service.events.on(told.append, ConfigRefused)
        write(tmp_path / "config.yaml", providers=SECOND, ledger={"keep_days": 3})
        assert await served.service.reload() is None
        served.service.events.close()
        assert [each.problems[0].partition("ledger: ")[2] for each in told] == [
            "cannot be changed while calls are booked there; restart"
        ]
        assert list(served.service.base.providers.providers) == ["first"]

    async def test_rows_are_checked_against_the_configuration_in_force(
        self, served: Served, tmp_path: Path
    ) -> None:
        write(tmp_path / "config.yaml", providers=SECOND, stream_timeout_s=9)
        await served.service.reload()
        listed = (await served.ask("GET", PROVIDERS)).json()
        assert [each["name"] for each in listed["inherited"]] == ["second"]


class TestTenants:
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/service.db"

    async def test_a_tenant_sees_it_at_its_next_call_and_a_lease_does_not(self, url: str) -> None:
        async with tenanted(url, operators()) as parts, parts.tenants.use("acme") as leased:
            await parts.tenants.take(operators(providers=SECOND))
            assert (await parts.tenants.get("acme")).list_providers() == ["second"]
            assert (await leased.find("house-model").complete("hi")).provider == "house"

    async def test_its_usage_and_its_own_rows_stay(self, url: str) -> None:
        async with tenanted(url, operators()) as parts:
            parts.store.add_tenant("acme", TEST)
            parts.store.agents.add("acme", agent("own", provider="house"), TEST)
            registry = await parts.tenants.get("acme")
            await registry.get_for_agent("own").complete("hi")
            await parts.tenants.take(operators(timeout_s=7))
            later = await parts.tenants.get("acme")
            assert later is not registry
            assert later.get_usage_summary()["total"]["calls"] == 1
            assert later.list_agents() == ["own"]

    async def test_a_tenant_whose_rows_it_does_not_bear_is_told_so_until_it_does(
        self, url: str
    ) -> None:
        async with tenanted(url, operators()) as parts:
            parts.store.add_tenant("acme", TEST)
            parts.store.agents.add("acme", agent("own", provider="house"), TEST)
            await parts.tenants.get("acme")
            await parts.tenants.take(operators(providers=SECOND))
            with pytest.raises(ConfigError, match=r"agents\.own"):
                await parts.tenants.get("acme")
            assert (await parts.tenants.get("other")).list_providers() == ["second"]
            await parts.tenants.take(operators())
            assert (await parts.tenants.get("acme")).list_agents() == ["own"]
