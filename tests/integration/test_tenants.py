"""The tenants' registries: built from rows, renewed, shared by nobody else, closed when idle."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from orchestify.calls.runtime import LimiterKey
from orchestify.core.config import Config
from orchestify.errors import (
    ConfigError,
    InvalidParameterError,
    ModelNotFoundError,
    ProviderNotFoundError,
    RateLimitError,
    ServerError,
    StoreError,
    VaultError,
)
from orchestify.events.events import CircuitOpened
from orchestify.lanes.litellm import load
from orchestify.ledger.record import Record
from orchestify.policy.rate_limit import RateLimiter
from orchestify.providers.shared import SharedParts
from orchestify.server.storage.store import Store
from orchestify.server.tenants.change_notices import LocalNotices
from orchestify.server.tenants.registry import TenantRegistry
from orchestify.testing import Recordings, Reply, StubServer
from tests.lanes import LITELLMS_OWN_WARNINGS
from tests.ledgers import until
from tests.tenants import (
    CIPHER,
    DATABASES,
    LOOPBACK,
    TEST,
    Tenanted,
    agent,
    database_at,
    operators,
    provider,
    tenanted,
)

FAST = {"max_attempts": 1}


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with database_at(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/service.db"


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


def over(server: StubServer, **top: Any) -> Config:
    """An operator's configuration whose provider `openai` leads to the stub."""
    providers = {
        "openai": {
            "type": "openai",
            "api_key": "operators",
            "base_url": server.openai_url,
            "default_model": "gpt-5.1",
        }
    }
    return operators(**{"providers": providers, "retry": FAST, **top})


def add(made: Tenanted, tenant: str, *rows: Any) -> None:
    for row in rows:
        adds = made.store.agents.add if hasattr(row, "agent_id") else made.store.providers.add
        adds(tenant, row, TEST)


class TestBuilding:
    async def test_a_tenants_rows_answer_over_the_operators(
        self, url: str, server: StubServer
    ) -> None:
        mine = provider("openai", "sk-mine", name="mine", base_url=server.openai_url)
        async with tenanted(url, over(server)) as made:
            add(made, "acme", mine, agent("writer", provider="mine", model_name="m1"))
            registry = await made.tenants.get("acme")
            assert registry.list_providers() == ["openai", "mine"]
            await registry.get("openai").complete("hi")
            await registry.get_for_agent("writer").complete("hi")
            report = await registry.usage(by="agent")
        sent = [(each.headers["authorization"], each.model) for each in server.requests]
        assert sent == [("Bearer operators", "gpt-5.1"), ("Bearer sk-mine", "m1")]
        assert [each.key for each in report.rows] == [("",), ("writer",)]

    async def test_a_tenant_without_rows_has_the_operators(self, sqlite: str) -> None:
        async with tenanted(sqlite, operators()) as made:
            assert (await made.tenants.get("nobody")).list_providers() == ["house"]

    async def test_sixty_four_at_once_are_built_once(self, sqlite: str) -> None:
        async with tenanted(sqlite, operators()) as made:
            found = await asyncio.gather(*(made.tenants.get("acme") for _ in range(64)))
        assert len(set(map(id, found))) == 1

    async def test_who_gives_up_waiting_does_not_stop_the_others(self, sqlite: str) -> None:
        async with tenanted(sqlite, operators()) as made:
            first = asyncio.create_task(made.tenants.get("acme"))
            await asyncio.sleep(0)
            second = asyncio.create_task(made.tenants.get("acme"))
            await asyncio.sleep(0)
            first.cancel()
            assert (await second).list_providers() == ["house"]

    @pytest.mark.parametrize("tenant", ["", "Acme", "../x", "a b"])
    async def test_a_tenants_name_is_plain(self, sqlite: str, tenant: str) -> None:
        async with tenanted(sqlite, operators()) as made:
            with pytest.raises(InvalidParameterError):
                await made.tenants.get(tenant)

    async def test_a_closed_one_is_closed(self, sqlite: str) -> None:
        async with tenanted(sqlite, operators()) as made:
            await made.tenants.aclose()
            with pytest.raises(StoreError):
                await made.tenants.get("acme")

    async def test_observers_are_told_of_the_tenants_records(self, sqlite: str) -> None:
        seen: list[Record] = []
        shared = SharedParts(observers=(seen.append,))
        async with tenanted(sqlite, operators(), shared=shared) as made:
            for tenant in ("acme", "other"):
                await (await made.tenants.get(tenant)).get("house").complete("hi")
        assert [each.tenant for each in seen] == ["acme", "other"]


class TestBroken:
    async def test_one_that_cannot_be_built_stops_no_other(self, sqlite: str) -> None:
        async with tenanted(sqlite, operators()) as made:
            add(made, "acme", agent("writer", provider="house"))
            moved = operators(providers={"new": {"type": "mock"}})
            tenants = TenantRegistry(Store(made.store.database, moved), made.ledger)
            with pytest.raises(ConfigError, match=r"agents\.writer\.provider: no such provider"):
                await tenants.get("acme")
            assert (await tenants.get("other")).list_providers() == ["new"]
            await tenants.aclose()

    async def test_a_key_that_does_not_open_switches_off_what_needs_it(self, sqlite: str) -> None:
        async with tenanted(sqlite, operators()) as made:
            add(made, "acme", provider(key="sk-secret"), agent("writer", provider="openai"))
            add(made, "acme", agent("own", "sk-secret", provider="house"))
            store = Store(made.store.database, operators(), None, LOOPBACK)
            tenants = TenantRegistry(store, made.ledger)
            registry = await tenants.get("acme")
            for model in ("openai/gpt-5.1", "agent:writer", "agent:own"):
                with pytest.raises(VaultError, match="its key cannot be opened: no encryption"):
                    registry.find(model)
            with pytest.raises(ModelNotFoundError, match="openai is off: its key cannot be opened"):
                registry.find("gpt-5.1")
            with pytest.raises(ProviderNotFoundError, match="is off: its key cannot be opened"):
                registry.get("openai")
            assert (await registry.find("house-model").complete("hi")).content
            await tenants.aclose()

    async def test_it_is_built_again_once_its_rows_are_mended(self, sqlite: str) -> None:
        async with tenanted(sqlite, operators()) as made:
            add(made, "acme", agent("writer", provider="house"))
            moved = operators(providers={"new": {"type": "mock"}})
            store = Store(made.store.database, moved)
            tenants = TenantRegistry(store, made.ledger)
            with pytest.raises(ConfigError):
                await tenants.get("acme")
            row = store.agents.page("acme").rows[0]
            store.agents.update("acme", row.id, {"provider": "new"}, TEST)
            await tenants.changed("acme")
            assert (await tenants.get("acme")).list_agents() == ["writer"]
            await tenants.aclose()


class TestRenewal:
    async def test_a_rebuilt_registry_keeps_the_recording(
        self, sqlite: str, server: StubServer, tmp_path: Path
    ) -> None:
        answers = []
        for folder in ("recorded", "replayed"):
            shared = SharedParts(recordings=Recordings(tmp_path / "it.yaml"))
            async with tenanted(f"{sqlite}-{folder}", over(server), shared=shared) as made:
                first = await (await made.tenants.get("acme")).get("openai").complete("one")
                add(made, "acme", agent("writer", provider="openai"))
                await made.tenants.changed("acme")
                second = (await made.tenants.get("acme")).get_for_agent("writer")
                answers.append((first.content, (await second.complete("two")).content))
        assert answers[0] == answers[1]
        assert len(server.requests) == 2

    async def test_a_change_here_is_in_force_at_once(self, url: str) -> None:
        async with tenanted(url, operators()) as made:
            before = await made.tenants.get("acme")
            add(made, "acme", provider(key="k"))
            assert await made.tenants.get("acme") is before
            await made.tenants.changed("acme")
            assert (await made.tenants.get("acme")).list_providers() == ["house", "openai"]

    async def test_a_change_elsewhere_is_found_by_asking(self, url: str) -> None:
        async with tenanted(url, operators(), poll_s=0.02) as made:
            before = await made.tenants.get("acme")
            add(made, "acme", provider(key="k"))
            await until(lambda: made.tenants._known["acme"].told > 1)
            assert await made.tenants.get("acme") is not before

    async def test_a_notice_is_faster(self, sqlite: str) -> None:
        notices = LocalNotices()
        async with (
            tenanted(sqlite, operators(), notices=notices) as here,
            tenanted(sqlite, operators(), notices=notices) as there,
        ):
            await there.tenants.get("acme")
            await asyncio.sleep(0)
            add(here, "acme", provider(key="k"))
            await here.tenants.changed("acme")
            assert "openai" in await there.tenants.get("acme")

    async def test_a_notice_without_a_change_rebuilds_nothing(self, sqlite: str) -> None:
        async with tenanted(sqlite, operators()) as made:
            before = await made.tenants.get("acme")
            await made.tenants.changed("acme")
            assert await made.tenants.get("acme") is before

    async def test_another_tenants_change_rebuilds_nothing(self, sqlite: str) -> None:
        async with tenanted(sqlite, operators()) as made:
            before = await made.tenants.get("acme")
            add(made, "other", provider(key="k"))
            await made.tenants.changed("other")
            assert await made.tenants.get("acme") is before

    async def test_who_asks_after_a_change_never_gets_what_was_before(self, sqlite: str) -> None:
        async with tenanted(sqlite, operators()) as made:
            for number in range(10):
                waiting = asyncio.create_task(made.tenants.get("acme"))
                await asyncio.sleep(0)
                await asyncio.to_thread(add, made, "acme", provider(key="k", name=f"p{number}"))
                await made.tenants.changed("acme")
                assert f"p{number}" in await made.tenants.get("acme")
                await waiting

    async def test_a_stream_under_way_ends_on_the_registry_it_began_on(
        self, sqlite: str, server: StubServer
    ) -> None:
        server.script(Reply(text="one two three four", chunks=4, chunk_delay_s=0.05))
        async with (
            tenanted(sqlite, over(server), poll_s=0.01) as made,
            made.tenants.use("acme") as registry,
            aclosing(registry.get("openai").stream("hi")) as stream,
        ):
            first = await anext(stream)
            add(made, "acme", provider(key="k", name="mine"))
            await made.tenants.changed("acme")
            assert await made.tenants.get("acme") is not registry
            await asyncio.sleep(0.05)
            rest = [text async for text in stream]
        assert first + "".join(rest) == "one two three four"

    async def test_an_older_registry_is_closed_once_nobody_uses_it(
        self, sqlite: str, server: StubServer
    ) -> None:
        async with tenanted(sqlite, over(server), poll_s=0.01) as made:
            async with made.tenants.use("acme") as registry:
                await registry.get("openai").complete("hi")
                add(made, "acme", provider(key="k", name="mine"))
                await made.tenants.changed("acme")
                async with made.tenants.use("acme"):
                    pass
                await asyncio.sleep(0.05)
                assert server.connections.open == 1
            await until(lambda: server.connections.open == 0)

    async def test_who_is_idle_is_closed_and_opened_again(
        self, sqlite: str, server: StubServer
    ) -> None:
        async with tenanted(sqlite, over(server), poll_s=0.01, idle_s=0.05) as made:
            async with made.tenants.use("acme") as registry:
                await registry.get("openai").complete("hi")
                await asyncio.sleep(0.1)
                assert list(made.tenants.in_use()) == ["acme"]
            await until(lambda: not made.tenants.in_use())
            assert server.connections.open == 0
            again = await made.tenants.get("acme")
            assert (await again.get("openai").complete("hi")).content

    async def test_with_the_database_away_those_in_use_go_on(
        self, sqlite: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, "orchestify.tenants")
        async with tenanted(sqlite, operators(), poll_s=0.01) as made:
            before = await made.tenants.get("acme")
            database = made.store.database
            made.store.database = Away()  # type: ignore[assignment]
            await until(lambda: len(caplog.records) == 1)
            await made.tenants.changed("acme")
            assert await made.tenants.get("acme") is before
            with pytest.raises(StoreError):
                await made.tenants.get("other")
            made.store.database = database
            await until(lambda: len(caplog.records) == 2)
            assert (await made.tenants.get("other")).list_providers() == ["house"]
        assert "go on as they were" in caplog.messages[0]
        assert "is back" in caplog.messages[1]


class Away:
    def run(self, work: Any, *, read_only: bool = False) -> Any:
        raise StoreError("the service's database is away")


class TestWhatSurvives:
    async def test_a_limit_is_as_far_used_as_it_was(self, sqlite: str) -> None:
        limited = {"house": {"type": "mock", "rate_limit": {"requests_per_day": 1}}}
        async with tenanted(sqlite, operators(providers=limited)) as made:
            await (await made.tenants.get("acme")).get("house").complete("hi")
            add(made, "acme", provider(key="k"))
            await made.tenants.changed("acme")
            with pytest.raises(RateLimitError):
                await (await made.tenants.get("acme")).get("house").complete("hi", timeout_s=0.2)

    async def test_idling_resets_no_limit(self, sqlite: str) -> None:
        limited = {"house": {"type": "mock", "rate_limit": {"requests_per_day": 1}}}
        base = operators(providers=limited)
        async with tenanted(sqlite, base, poll_s=0.01, idle_s=0.03) as made:
            async with made.tenants.use("acme") as registry:
                await registry.get("house").complete("hi")
            await until(lambda: not made.tenants.in_use())
            with pytest.raises(RateLimitError):
                await (await made.tenants.get("acme")).get("house").complete("hi", timeout_s=0.2)

    async def test_limits_may_be_made_elsewhere_once_a_tenant(self, sqlite: str) -> None:
        asked: list[tuple[str, str]] = []

        def make_limits(tenant: str) -> Any:
            def make(key: LimiterKey, limit: Any) -> RateLimiter:
                asked.append((tenant, key[1]))
                return RateLimiter(requests_per_day=limit.requests_per_day)

            return make

        limited = {"house": {"type": "mock", "rate_limit": {"requests_per_day": 9}}}
        base = operators(providers=limited)
        async with tenanted(sqlite, base, make_limits=make_limits) as made:
            for tenant in ("acme", "other"):
                await made.tenants.get(tenant)
                add(made, tenant, provider(key="k"))
                await made.tenants.changed(tenant)
                await made.tenants.get(tenant)
        assert asked == [("acme", "house"), ("other", "house")]

    async def test_a_breaker_of_an_unchanged_provider_stays_open(
        self, sqlite: str, server: StubServer
    ) -> None:
        base = over(server, circuit_breaker={"failures": 1, "open_s": 60})
        server.script(Reply(status=500))
        async with tenanted(sqlite, base) as made:
            registry = await made.tenants.get("acme")
            with pytest.raises(ServerError):
                await registry.get("openai").complete("hi")
            add(made, "acme", provider("deepseek", "k"))
            await made.tenants.changed("acme")
            after = await made.tenants.get("acme")
            assert after.circuits() == {("openai", "gpt-5.1"): "open"}
            assert after.get_health()["openai"].status != "unknown"

    async def test_a_changed_provider_starts_with_a_closed_breaker(
        self, sqlite: str, server: StubServer
    ) -> None:
        base = over(server, circuit_breaker={"failures": 1, "open_s": 60})
        server.script(Reply(status=500))
        async with tenanted(sqlite, base) as made:
            add(made, "acme", provider(key="k", name="mine", base_url=server.openai_url))
            with pytest.raises(ServerError):
                await (await made.tenants.get("acme")).get("mine").complete("hi")
            row = made.store.providers.page("acme").rows[0]
            made.store.providers.update(
                "acme", row.id, {"config": {**row.config, "max_tokens": 9}}, TEST
            )
            await made.tenants.changed("acme")
            assert (await (await made.tenants.get("acme")).get("mine").complete("hi")).content

    async def test_who_listens_to_events_goes_on_listening(
        self, sqlite: str, server: StubServer
    ) -> None:
        base = over(server, circuit_breaker={"failures": 1, "open_s": 60})
        server.script(Reply(status=500))
        seen: list[CircuitOpened] = []
        async with tenanted(sqlite, base) as made:
            (await made.tenants.get("acme")).on(seen.append, CircuitOpened)
            add(made, "acme", provider("deepseek", "k"))
            await made.tenants.changed("acme")
            with pytest.raises(ServerError):
                await (await made.tenants.get("acme")).get("openai").complete("hi")
            await until(lambda: len(seen) == 1)

    async def test_the_tenants_totals_go_on(self, sqlite: str) -> None:
        async with tenanted(sqlite, operators()) as made:
            await (await made.tenants.get("acme")).get("house").complete("hi")
            add(made, "acme", provider("deepseek", "k"))
            await made.tenants.changed("acme")
            registry = await made.tenants.get("acme")
            assert registry.get_usage_summary()["total"]["calls"] == 1


class TestFinding:
    pytestmark = LITELLMS_OWN_WARNINGS

    ROWS = (
        provider("anthropic", "k", name="claude"),
        provider("google", "k", models=["gemini-pro"]),
        provider("azure", "k", base_url="https://a.openai.azure.com", default_model="deployed"),
        agent("writer", provider="claude", model_name="claude-opus-4-1"),
    )

    @pytest.fixture
    async def tenants(self, sqlite: str) -> AsyncIterator[TenantRegistry]:
        wild = {"type": "litellm", "api_key": "k", "default_model": "bedrock/m"}
        bare = {"type": "litellm", "api_key": "k", "default_model": "gpt-4o"}
        openai = {"type": "openai", "api_key": "k", "default_model": "gpt-5.1"}
        base = operators(providers={"wild": wild, "bare": bare, "openai": openai})
        async with tenanted(sqlite, base) as made:
            add(made, "acme", *self.ROWS)
            await load()  # its import warns, and must not do so between two tests
            yield made.tenants

    @pytest.mark.parametrize(
        ("model", "place"),
        [
            ("agent:writer", ("claude", "claude-opus-4-1")),
            ("claude/claude-sonnet-4-5", ("claude", "claude-sonnet-4-5")),
            ("claude/anything-new", ("claude", "anything-new")),
            ("claude-sonnet-4-5", ("claude", "claude-sonnet-4-5")),
            ("claude-opus-4-1", ("claude", "claude-opus-4-1")),
            ("claude-haiku-4-5", ("claude", "claude-haiku-4-5")),
            ("gpt-5.1", ("openai", "gpt-5.1")),
            ("gpt-5-mini", ("openai", "gpt-5-mini")),
            ("gemini-pro", ("google", "gemini/gemini-pro")),
            ("gemini/gemini-pro", ("google", "gemini/gemini-pro")),
            ("google/gemini-2.5-pro", ("google", "gemini/gemini-2.5-pro")),
            ("google/bedrock/claude", ("google", "gemini/bedrock/claude")),
            ("deployed", ("azure", "azure/deployed")),
            ("azure/vertex_ai/x", ("azure", "azure/vertex_ai/x")),
            ("wild/m", ("wild", "bedrock/m")),
            ("wild/vertex_ai/x", ("wild", "bedrock/vertex_ai/x")),
            ("bare/gpt-4o", ("bare", "gpt-4o")),
        ],
    )
    async def test_a_name_finds_its_provider_and_no_other_backend(
        self, tenants: TenantRegistry, model: str, place: tuple[str, str]
    ) -> None:
        found: Any = await tenants.get_provider("acme", model)
        assert (found.route.targets[0].provider_id, found.route.targets[0].model) == place

    @pytest.mark.parametrize(
        "model",
        [
            *("", "nobody-knows-this", "agent:", "agent:nobody", "nowhere/gpt-5.1"),
            *("bare/bedrock/claude", "openai/", "openai/../../x", "openai/a?b=c", "openai/a b"),
            *("x" * 500, "openai/${HOME}"),
        ],
    )
    async def test_what_nothing_answers_to(self, tenants: TenantRegistry, model: str) -> None:
        with pytest.raises(ModelNotFoundError):
            await tenants.get_provider("acme", model)

    async def test_it_is_found_once(self, tenants: TenantRegistry) -> None:
        first = await tenants.get_provider("acme", "gpt-5-mini")
        assert await tenants.get_provider("acme", "gpt-5-mini") is first

    async def test_the_default_provider_goes_first(self, sqlite: str) -> None:
        providers = {
            name: {"type": "openai", "api_key": "k", "default_model": "same"} for name in ("a", "b")
        }
        async with tenanted(sqlite, operators(providers=providers, default_provider="b")) as made:
            found: Any = await made.tenants.get_provider("acme", "same")
            assert found.route.targets[0].provider_id == "b"

    async def test_listed_models_are_named(self, tenants: TenantRegistry) -> None:
        named = (await tenants.get("acme")).named_models()
        assert ("google", "gemini/gemini-pro") in named
        assert ("wild", "bedrock/m") in named

    async def test_models_are_listed_without_litellms_prefix(self, tenants: TenantRegistry) -> None:
        registry = await tenants.get("acme")
        listed = registry.listed_models()
        assert [each for each in listed if each[0] in {"google", "wild", "azure", "bare"}] == [
            ("azure", "deployed"),
            ("bare", "gpt-4o"),
            ("google", "gemini-2.5-flash"),
            ("google", "gemini-pro"),
            ("wild", "m"),
        ]
        assert all(registry.find(f"{provider}/{model}") for provider, model in listed)

    async def test_at_most_ten_models_are_told_to_who_names_none(self, sqlite: str) -> None:
        async with tenanted(sqlite, operators()) as made:
            models = list("abcdefghijkl")
            add(made, "acme", provider("openai", "k", name="p", models=models, default_model="a"))
            add(made, "globex", provider("deepseek", "k"))
            with pytest.raises(ModelNotFoundError) as caught:
                await made.tenants.get_provider("acme", "nope/x")
        assert str(caught.value).endswith(
            "; there are house/house-model, p/a, p/b, p/c, p/d, p/e, p/f, p/g, p/h, p/i and 3 more"
        )


def test_the_cipher_of_these_tests_shows_nothing() -> None:
    assert "awUY" not in repr(CIPHER)
