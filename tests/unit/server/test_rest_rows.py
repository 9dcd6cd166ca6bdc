"""Rows as configuration: what they make, what they inherit, and that they stay data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from orchestify.core.addresses import AddressRule
from orchestify.core.config import Config, parse_config
from orchestify.core.provider_types import PROVIDER_TYPES
from orchestify.core.providers import PriceConfig, ProviderConfig
from orchestify.errors import ConfigError, VaultError
from orchestify.server.rows.input_rules import HEADERS, OPTIONS
from orchestify.server.rows.provider_rows import CONFIG_KEYS
from orchestify.server.rows.stored_rows import AgentRow, ProviderRow, TenantRows
from orchestify.server.rows.tenant_config import TenantConfig, config_of

NOW = datetime(2026, 3, 14, tzinfo=UTC)
PUBLIC = "https://llm.example.com/v1"
HOUSE = """
providers:
  openai:
    type: openai
    api_key: operators-key
    default_model: gpt-5.1
    headers: {openai-organization: house, x-secret-token: hidden}
    price: {input_usd_per_mtok: 1, output_usd_per_mtok: 2}
    rate_limit: {requests_per_minute: 60}
    options: {service_tier: flex}
  cloud: {type: litellm, api_key: k, default_model: bedrock/claude}
  bare: {type: litellm, api_key: k, default_model: gpt-4o}
agents:
  planner: {provider: openai, temperature: 0.5}
  clerk: {provider: cloud, model: vertex_ai/gemini-pro}
budgets: [{name: day, limit_usd: 5, period: day, match: {agent: planner}}]
ledger: {url: "postgresql://u:secret@h/db"}
"""
KEYED = """
default_provider: openai
providers:
  openai: {type: openai, api_key: k, default_model: gpt-5.1}
  cloud: {type: openai, base_url: "https://other.example.com", api_key: k, default_model: m}
agents:
  named: {provider: openai, api_key: operators-own}
  free: {api_key: operators-own}
"""


def house(text: str = HOUSE) -> Config:
    return parse_config(text, environ={})


def row(
    name: str = "main", kind: str = "openai", key: str | None = "k", **given: Any
) -> ProviderRow:
    """A provider's row; its key is what encryption left of it, upside down."""
    own = {each: given.pop(each) for each in ("is_active", "is_default") if each in given}
    return ProviderRow(
        id=f"id-{name}",
        tenant_id="acme",
        name=name,
        provider_type=kind,
        config=given,
        created_at=NOW,
        updated_at=NOW,
        encrypted_api_key=None if key is None else key[::-1],
        **{"is_active": True, "is_default": False, **own},
    )


def agent(agent_id: str = "writer", key: str | None = None, **given: Any) -> AgentRow:
    columns: dict[str, Any] = dict.fromkeys(
        ("provider", "model_name", "temperature", "max_tokens", "top_p", "fallback_provider")
    )
    columns |= dict.fromkeys(
        ("fallback_model", "cost_per_1k_input_tokens", "cost_per_1k_output_tokens")
    )
    return AgentRow(
        **{
            "id": f"id-{agent_id}",
            "tenant_id": "acme",
            "agent_id": agent_id,
            "config": {},
            "enabled": True,
            "created_at": NOW,
            "updated_at": NOW,
            "api_key_encrypted": None if key is None else key[::-1],
            **columns,
            **given,
        }
    )


def open_key(encrypted: str) -> SecretStr:
    return SecretStr(encrypted[::-1])


def made(
    *rows: ProviderRow | AgentRow, base: Config | None = None, **keywords: Any
) -> TenantConfig:
    given = TenantRows(
        "acme",
        1,
        tuple(each for each in rows if isinstance(each, ProviderRow)),
        tuple(each for each in rows if isinstance(each, AgentRow)),
    )
    rule = keywords.get("rule", AddressRule())
    return config_of(base or house(), given, rule, keywords.get("open_key", open_key))


def one(given: ProviderRow, **keywords: Any) -> ProviderConfig:
    return made(given, **keywords).config.providers.providers[given.name]


def problems(*rows: ProviderRow | AgentRow, **keywords: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        made(*rows, **keywords)
    return list(caught.value.problems)


def key_of(config: ProviderConfig) -> str | None:
    return None if config.api_key is None else config.api_key.get_secret_value()


class TestTypes:
    @pytest.mark.parametrize(
        ("kind", "lane", "model", "base_url"),
        [
            ("openai", "openai", "gpt-5.1", None),
            ("anthropic", "anthropic", "claude-sonnet-4-6", None),
            ("google", "litellm", "gemini/gemini-2.5-flash", None),
            ("deepseek", "openai", "deepseek-v4-flash", "https://api.deepseek.com/v1"),
            ("xai", "openai", "grok-4.5", "https://api.x.ai/v1"),
            ("groq", "openai", "openai/gpt-oss-120b", "https://api.groq.com/openai/v1"),
        ],
    )
    def test_a_type_has_its_lane_model_and_address(
        self, kind: str, lane: str, model: str, base_url: str | None
    ) -> None:
        found = one(row("main", kind))
        assert (found.type, found.default_model, found.base_url) == (lane, model, base_url)
        assert key_of(found) == "k"

    def test_every_type_of_seed_004_is_there(self) -> None:
        assert set(PROVIDER_TYPES) >= {"openai", "anthropic", "google", "azure", "ollama"}

    @pytest.mark.parametrize(
        ("kind", "given", "full"),
        [
            ("google", "gemini-pro", "gemini/gemini-pro"),
            ("google", "gemini/gemini-pro", "gemini/gemini-pro"),
            ("google", "bedrock/claude", "gemini/bedrock/claude"),
            ("azure", "gpt-4o", "azure/gpt-4o"),
            ("azure", "vertex_ai/gemini-pro", "azure/vertex_ai/gemini-pro"),
        ],
    )
    def test_a_model_reaches_no_other_backend(self, kind: str, given: str, full: str) -> None:
        url = {"base_url": "https://acme.openai.azure.com"} if kind == "azure" else {}
        whole = made(
            row(
                "main",
                kind,
                default_model=given,
                models=[given],
                price={given: {"request_usd": 0}},
                **url,
            )
        )
        found = whole.config.providers.providers["main"]
        assert found.default_model == full
        assert whole.listed["main"] == (full,)
        assert list(found.price or {}) == [full]
        assert whole.model_at("main", given) == full

    def test_azure_wants_its_address_and_model(self) -> None:
        assert problems(row("az", "azure", None)) == [
            "providers.az.api_key: missing",
            "providers.az.base_url: missing",
            "providers.az.default_model: missing; a provider of type litellm needs one",
        ]

    def test_ollama_on_this_machine_is_for_a_service_that_is_private_to_it(self) -> None:
        local = row("local", "ollama", None)
        assert one(local, rule=AddressRule(loopback=True)).base_url == "http://localhost:11434"
        assert one(local, rule=AddressRule(("localhost:11434",))).sends_key is False
        assert "--allow-endpoint localhost:11434" in problems(local)[0]

    @pytest.mark.parametrize("kind", ["openai", "anthropic", "google", "deepseek", "together"])
    def test_a_company_wants_a_key(self, kind: str) -> None:
        assert problems(row("main", kind, None)) == ["providers.main.api_key: missing"]

    def test_an_address_of_ones_own_may_want_no_key(self) -> None:
        assert key_of(one(row("vllm", "openai", None, base_url=PUBLIC))) is None


class TestInheritance:
    def test_a_row_without_a_key_is_the_operators_provider(self) -> None:
        whole = made(row("openai", key=None, default_model="gpt-5-mini", timeout_s=5))
        found = whole.config.providers.providers["openai"]
        assert (key_of(found), found.default_model, found.timeout_s) == (
            "operators-key",
            "gpt-5-mini",
            5,
        )
        assert found.rate_limit == house().providers.providers["openai"].rate_limit
        assert "openai" not in whole.guarded

    def test_options_are_laid_over_the_operators(self) -> None:
        found = one(row("openai", key=None, options={"temperature": 0.1}))
        assert found.options == {"service_tier": "flex", "temperature": 0.1}

    def test_a_row_with_a_key_inherits_nothing(self) -> None:
        whole = made(row("openai", key="mine"))
        found = whole.config.providers.providers["openai"]
        assert key_of(found) == "mine"
        assert (found.headers, found.price, found.rate_limit, found.options) == ({}, None, None, {})
        assert whole.guarded == {"openai"}

    def test_a_row_that_sets_a_base_url_inherits_no_key_and_no_headers(self) -> None:
        whole = made(row("openai", key=None, base_url=PUBLIC))
        found = whole.config.providers.providers["openai"]
        assert (found.api_key, found.headers) == (None, {})
        assert whole.guarded == {"openai"}

    @pytest.mark.parametrize("kind", ["deepseek", "anthropic", "google"])
    def test_a_namesake_of_another_type_is_not_inherited(self, kind: str) -> None:
        assert problems(row("openai", kind, None)) == ["providers.openai.api_key: missing"]

    def test_a_namesake_elsewhere_is_not_inherited(self) -> None:
        base = house("providers: {deepseek: {type: openai, api_key: k, default_model: m}}")
        assert problems(row("deepseek", "deepseek", None), base=base) == [
            "providers.deepseek.api_key: missing"
        ]

    def test_a_namesake_that_is_off_is_not_inherited(self) -> None:
        base = house(
            "providers: {openai: {type: openai, api_key: '${NO}', default_model: m, enabled: auto}}"
        )
        assert problems(row("openai", key=None), base=base) == ["providers.openai.api_key: missing"]

    @pytest.mark.parametrize(
        "given",
        [
            {"price": {"input_usd_per_mtok": 0, "output_usd_per_mtok": 0}},
            {"rate_limit": {"requests_per_minute": 1_000_000}},
            {"headers": {"openai-organization": "mine"}},
            {"options": {"service_tier": "priority"}},
            {"options": {"service_tier": None}},
        ],
    )
    def test_the_operators_key_keeps_the_operators_bounds(self, given: dict[str, Any]) -> None:
        (problem,) = problems(row("openai", key=None, **given))
        assert "comes with the operator's key" in problem

    def test_the_operators_other_providers_and_agents_are_there(self) -> None:
        found = made(row()).config
        assert list(found.providers.providers) == ["openai", "cloud", "bare", "main"]
        assert list(found.agents.agents) == ["planner", "clerk"]
        assert [each.name for each in found.budgets] == ["day"]

    def test_where_usage_is_kept_is_no_tenants(self) -> None:
        assert made().config.ledger is None

    def test_nothing_mutable_is_the_operators(self) -> None:
        base = house()
        found = made(row("openai", key=None), base=base).config
        theirs = base.providers.providers["openai"]
        assert found.providers.providers["openai"].options is not theirs.options
        assert found.providers.providers["cloud"] is not base.providers.providers["cloud"]
        assert found.agents.agents["planner"] is not base.agents.agents["planner"]


class TestSwitches:
    def test_a_row_that_is_off_hides_its_namesake(self) -> None:
        base = house("providers: {openai: {type: openai, api_key: k, default_model: m}}")
        assert one(row("openai", key=None, is_active=False), base=base).is_enabled is False

    def test_what_an_agent_uses_cannot_be_switched_off(self) -> None:
        assert problems(row("openai", key=None, is_active=False)) == [
            "agents.planner.provider: this provider is off (enabled: false)"
        ]

    def test_the_default_is_the_tenants_own(self) -> None:
        assert made(row(is_default=True)).config.default_provider == "main"

    def test_a_default_that_is_off_is_none(self) -> None:
        assert made(row(is_default=True, is_active=False)).config.default_provider is None


class TestAgents:
    def test_the_columns_and_the_rest(self) -> None:
        given = agent(
            provider="main",
            model_name="gpt-5-mini",
            temperature=0.2,
            max_tokens=7,
            top_p=0.5,
            fallback_provider="openai",
            fallback_model="gpt-5.1",
            config={
                "thinking": "low",
                "fallback": ["cloud"],
                "stop": ["END"],
                "metadata": {"a": 1},
            },
        )
        found = made(row(), given).config.agents.agents["writer"]
        assert (found.provider, found.model, found.temperature) == ("main", "gpt-5-mini", 0.2)
        assert (found.max_tokens, found.top_p, found.thinking) == (7, 0.5, "low")
        assert [(each.provider, each.model) for each in found.fallback] == [
            ("openai", "gpt-5.1"),
            ("cloud", None),
        ]
        assert (found.stop, found.metadata) == (("END",), {"a": 1})

    def test_a_row_overrides_the_operators_agent(self) -> None:
        found = made(agent("planner", provider="cloud")).config.agents.agents["planner"]
        assert (found.provider, found.temperature) == ("cloud", None)

    def test_its_own_key(self) -> None:
        found = made(agent(key="sk-own", provider="openai")).config.agents.agents["writer"]
        assert found.api_key is not None
        assert found.api_key.get_secret_value() == "sk-own"

    def test_its_provider_must_exist(self) -> None:
        assert problems(agent(provider="opnai")) == [
            "agents.writer.provider: no such provider; did you mean 'openai'?"
        ]

    def test_a_chain_does_not_come_back(self) -> None:
        (problem,) = problems(agent(provider="openai", fallback_provider="openai"))
        assert "stand earlier in the chain" in problem

    def test_its_model_reaches_no_other_backend(self) -> None:
        found = made(agent(provider="cloud", model_name="claude-x")).config.agents.agents["writer"]
        assert found.model == "bedrock/claude-x"

    def test_a_model_that_the_operator_named_keeps_its_name(self) -> None:
        given = agent(provider="cloud", model_name="vertex_ai/gemini-pro")
        assert made(given).config.agents.agents["writer"].model == "vertex_ai/gemini-pro"

    @pytest.mark.parametrize("where", ["model_name", "fallback_model"])
    def test_where_the_prefix_is_unknown_no_model_may_be_named(self, where: str) -> None:
        names = {"provider": "bare"} if where == "model_name" else {"fallback_provider": "bare"}
        given = agent(**{"provider": "openai", **names, where: "bedrock/claude"})
        assert "no such model may be named" in problems(given)[0]

    def test_a_fallback_model_has_a_provider(self) -> None:
        assert "set fallback_provider" in problems(agent(provider="openai", fallback_model="m"))[0]

    def test_what_is_no_field_of_an_agent_is_refused(self) -> None:
        assert "unknown key" in problems(agent(provider="openai", config={"api_key": "k"}))[0]


class TestPrices:
    def test_costs_are_the_price_of_the_model_at_its_provider(self) -> None:
        given = agent(
            provider="main",
            model_name="m",
            cost_per_1k_input_tokens=0.0015,
            cost_per_1k_output_tokens=0.002,
        )
        price = made(row(), given).config.providers.providers["main"].price
        assert price == {
            "m": PriceConfig(input_usd_per_mtok=Decimal("1.5"), output_usd_per_mtok=Decimal("2.0"))
        }

    def test_two_agents_may_say_the_same(self) -> None:
        costs = {"cost_per_1k_input_tokens": 1.0, "cost_per_1k_output_tokens": 2.0}
        agents = [agent(name, provider="main", **costs) for name in ("a", "b")]
        assert made(row(), *agents).config.providers.providers["main"].price

    def test_two_agents_may_not_differ(self) -> None:
        first = agent("a", provider="main", cost_per_1k_input_tokens=1, cost_per_1k_output_tokens=2)
        other = agent("b", provider="main", cost_per_1k_input_tokens=1, cost_per_1k_output_tokens=3)
        assert problems(row(), first, other) == [
            "agents.b.cost_per_1k_input_tokens: the provider or another agent has another price "
            "for this model"
        ]

    def test_half_a_price_is_none(self) -> None:
        assert problems(row(), agent(provider="main", cost_per_1k_input_tokens=1)) == [
            "agents.writer.cost_per_1k_output_tokens: missing; a price has both"
        ]

    def test_the_operators_price_is_not_the_tenants_to_set(self) -> None:
        given = agent(provider="openai", cost_per_1k_input_tokens=0, cost_per_1k_output_tokens=0)
        assert "is the operator's" in problems(given)[0]


VARIABLES = [
    "${HOME}",
    "${HOME:-x}",
    "$<HOME>",
    "env:HOME",
    "os.environ/HOME",
    "vault:x",
    "a${HOME}b",
]


class TestVariables:
    @pytest.mark.parametrize("text", VARIABLES)
    @pytest.mark.parametrize(
        "given",
        [
            lambda text: {"base_url": text},
            lambda text: {"base_url": f"https://llm.example.com/{text}"},
            lambda text: {"default_model": text},
            lambda text: {"models": [text]},
            lambda text: {"headers": {"x-title": text}},
            lambda text: {"options": {"user": text}},
            lambda text: {"options": {"safety_settings": [{"category": {"deep": text}}]}},
            lambda text: {"price": {text: {"input_usd_per_mtok": 1}}},
            lambda text: {"price": {"m": {"input_usd_per_mtok": text}}},
            lambda text: {"timeout_s": text},
            lambda text: {"max_tokens": text},
            lambda text: {"rate_limit": {"algorithm": text}},
            lambda text: {"retry": {"max_attempts": text}},
        ],
    )
    def test_a_provider_reads_none(
        self, given: Any, text: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", "5")
        try:
            found = repr(one(row(**given(text))).model_dump())
        except ConfigError as error:
            found = str(error)
        assert "'5'" not in found
        assert "Decimal('5')" not in found
        assert "5/" not in found.replace("://", "")

    @pytest.mark.parametrize("text", [each for each in VARIABLES if each != "vault:x"])
    def test_a_key_is_data(self, text: str) -> None:
        assert key_of(one(row(key=text))) == text

    def test_a_key_is_no_name_in_the_operators_vault(self) -> None:
        assert "begin with vault:" in problems(row(key="vault:x"))[0]
        assert "begin with vault:" in problems(agent(provider="openai", key="vault:x"))[0]

    @pytest.mark.parametrize("text", VARIABLES)
    @pytest.mark.parametrize("field", ["provider", "model_name", "fallback_provider", "agent_id"])
    def test_an_agents_columns_read_none(self, field: str, text: str) -> None:
        given = {"provider": "openai", "agent_id": "writer", field: text}
        assert problems(agent(**given))

    @pytest.mark.parametrize("text", VARIABLES)
    def test_the_hosts_own_fields_keep_what_they_are_given(self, text: str) -> None:
        config = {"metadata": {"deep": [{"er": text}]}, "stop": [text]}
        found = made(agent(provider="openai", config=config)).config.agents.agents["writer"]
        assert found.metadata == {"deep": [{"er": text}]}
        assert found.stop == (text,)

    def test_a_number_as_text_is_no_number(self) -> None:
        assert problems(row(max_tokens="7")) == [
            "providers.main.max_tokens: expected a whole number"
        ]

    def test_a_home_is_not_looked_up(self) -> None:
        assert one(row(options={"user": "~"})).options == {"user": "~"}
        assert problems(row(base_url="~/llm")) == [
            "providers.main.base_url: expected an http or https address with a host"
        ]

    def test_the_environment_is_not_read_at_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Unread(dict[str, str]):
            def __getitem__(self, key: str) -> str:
                raise AssertionError(key)

            get = __getitem__  # type: ignore[assignment]

        base = house()
        monkeypatch.setattr(os, "environ", Unread())
        assert made(row(options={"user": "a"}), agent(provider="main"), base=base)


class TestAllowed:
    @pytest.mark.parametrize("name", sorted(OPTIONS - {"api_version"}))
    def test_these_options_pass(self, name: str) -> None:
        assert one(row(options={name: 1})).options == {name: 1}

    @pytest.mark.parametrize(
        "name",
        [
            *("api_base", "api_key", "base_url", "custom_llm_provider", "model", "messages"),
            *("extra_body", "extra_headers", "max_tokens", "n", "aws_region_name", "timeout"),
            *("azure_ad_token", "stream", "tools", "num_retries", "fallbacks", "metadata"),
        ],
    )
    def test_these_options_do_not(self, name: str) -> None:
        (problem,) = problems(row(options={name: 1}))
        assert problem.startswith(f"providers.main.options.{name}: not allowed here; allowed are:")

    @pytest.mark.parametrize("name", sorted(HEADERS))
    def test_these_headers_pass(self, name: str) -> None:
        assert one(row(headers={name.title(): "x"})).headers[name.title()].get_secret_value() == "x"

    @pytest.mark.parametrize(
        "name",
        ["Authorization", "x-api-key", "Host", "Cookie", "api-key", "X-Forwarded-For", "Via"],
    )
    def test_these_headers_do_not(self, name: str) -> None:
        (problem,) = problems(row(headers={name: "x"}))
        assert "not allowed here; allowed are: anthropic-beta" in problem

    def test_a_header_has_one_line(self) -> None:
        assert "one line" in problems(row(headers={"x-title": "a\r\nhost: evil"}))[0]

    @pytest.mark.parametrize("name", ["type", "engine", "api_key", "enabled", "allow_http", "tpye"])
    def test_other_keys_of_a_provider_are_not_the_rows(self, name: str) -> None:
        assert f"providers.main.{name}: unknown key" in problems(row(**{name: "x"}))[0]

    @pytest.mark.parametrize("version", ["2024-10-21", "2025-01-01-preview"])
    def test_azures_version_passes(self, version: str) -> None:
        assert one(row(options={"api_version": version})).options == {"api_version": version}

    @pytest.mark.parametrize("version", ["x&a=b", "../x", "2024 10", "a" * 41])
    def test_what_would_change_azures_address_does_not(self, version: str) -> None:
        assert problems(row(options={"api_version": version}))

    @pytest.mark.parametrize(
        "model", ["../../v2/x", "m?key=1", "m#x", "m\nx", "a b", "", "m" * 201]
    )
    def test_a_model_is_no_part_of_an_address(self, model: str) -> None:
        assert problems(row(default_model=model))
        assert problems(row(models=[model]))

    @pytest.mark.parametrize(
        "url",
        [
            *("http://127.0.0.1:1", "http://localhost", "http://169.254.169.254/"),
            *("http://10.0.0.1", "http://[::1]/", "file:///etc/passwd", "llm.example.com"),
            "https://u:p@llm.example.com",
        ],
    )
    def test_an_address_is_public(self, url: str) -> None:
        assert problems(row(key=None, base_url=url))

    @pytest.mark.parametrize("kind", ["google", "azure", "ollama"])
    def test_litellm_is_sent_to_no_host_but_its_vendors(self, kind: str) -> None:
        given = row("main", kind, base_url="https://evil.example.com", default_model="m")
        assert "not allowed" in problems(given)[0]


class TestSizes:
    @pytest.mark.parametrize(
        "config",
        [
            {"options": {"user": "x" * 20_000}},
            {"options": {"user": "\0"}},
            {"options": {"user": "\ud800"}},
            {"options": {"seed": float("inf")}},
            {"options": {"seed": 2**64}},
            {"options": {"user": {1: 2}}},
            {"options": []},
            {"headers": "x"},
            {"models": "gpt"},
            {"models": ["m"] * 201},
            {"price": {"input_usd_per_mtok": 1e9}},
            {"price": {"input_usd_per_mtok": -1}},
            {"retry": {"max_attempts": 1_000}},
            {"timeout_s": 1e9},
            {"max_tokens": 10**12},
            {"rate_limit": {"requests_per_minute": 10**30}},
        ],
    )
    def test_what_is_too_large_or_of_another_shape_is_refused(self, config: Any) -> None:
        assert problems(row(**config))

    def test_what_is_nested_too_deeply_is_refused(self) -> None:
        deep: Any = "x"
        for _ in range(900):
            deep = [deep]
        assert problems(row(options={"user": deep}))
        assert problems(agent(provider="openai", config={"metadata": {"a": deep}}))

    @pytest.mark.parametrize("name", ["", "a b", "a/b", "a:b", "-a", "x" * 64, "é", None, 7])
    def test_a_name_is_short_and_plain(self, name: Any) -> None:
        assert problems(row(name))
        assert problems(agent(name, provider="openai"))

    def test_an_unknown_key_hides_no_other_problem(self) -> None:
        assert problems(row(foo=1, base_url="htp://x", max_tokens=-1)) == [
            f"providers.main.foo: unknown key; there are: {', '.join(CONFIG_KEYS)}",
            "providers.main.max_tokens: expected a number of at least 1",
            "providers.main.base_url: expected an http or https address with a host",
        ]

    def test_all_problems_come_at_once(self) -> None:
        found = problems(row(headers={"host": "x"}, foo=1), row("b", "nope"), agent(provider="no"))
        assert len(found) == 4

    def test_a_problem_shows_no_value(self) -> None:
        given = row(key="sk-\nsecret", options={"api_key": "sk-secret"}, base_url="sk-secret")
        assert "sk-" not in "\n".join(problems(given))


class TestKeys:
    def test_what_has_a_key_that_cannot_be_opened_is_off_and_nothing_else(self) -> None:
        def refuse(encrypted: str) -> SecretStr:
            raise VaultError("no encryption key that is set opens it")

        user = agent("user", provider="main")
        found = made(row(), agent(key="k", provider="openai"), user, open_key=refuse)
        why = "its key cannot be opened: no encryption key that is set opens it"
        assert (found.locked, found.locked_agents) == ({"main": why}, {"writer": why})
        assert list(found.config.providers.providers) == ["openai", "cloud", "bare"]
        assert list(found.config.agents.agents) == ["planner", "clerk", "user"]

    @pytest.mark.parametrize(
        ("given", "keyed"),
        [
            (row("openai", base_url=PUBLIC), []),
            (row("openai", key="mine"), []),
            (row("evil", base_url=PUBLIC, is_default=True), ["named"]),
            (row("cloud", "deepseek", is_default=True), ["named"]),
            (row("evil", base_url=PUBLIC), ["named", "free"]),
            (row("openai", key=None, is_default=True), ["named", "free"]),
        ],
        ids=["elsewhere", "same place", "default", "default's name", "another", "inherits"],
    )
    def test_the_key_of_an_operators_agent_goes_to_no_provider_of_a_tenants(
        self, given: ProviderRow, keyed: list[str]
    ) -> None:
        agents = made(given, base=house(KEYED)).config.agents.agents
        assert [name for name, each in agents.items() if each.api_key is not None] == keyed

    def test_nothing_shows_a_key(self) -> None:
        found = made(row(key="sk-secret"), agent(key="sk-secret", provider="main"))
        assert "sk-secret" not in repr(found)
        assert "terces-ks" not in repr(row(key="sk-secret"))


def test_a_mapping_of_names_is_no_more_than_that() -> None:
    whole: Mapping[str, Any] = made(row()).listed
    assert whole == {"main": ()}
