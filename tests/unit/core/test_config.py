from __future__ import annotations

import copy
import os
import pickle
import traceback
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest
import yaml

from orchestify.core import config as module
from orchestify.core.config import (
    AgentConfig,
    BudgetConfig,
    CircuitBreakerConfig,
    Config,
    ConfigError,
    LedgerConfig,
    PriceConfig,
    ProviderConfig,
    ProvidersConfig,
    RateLimitConfig,
    RetryConfig,
    Settings,
    TargetConfig,
    ThinkingBudget,
    config_schema,
    load_config,
    parse_config,
    policies_for,
)
from orchestify.core.warnings import config_warnings

SECRET = "sk-ant-planted"

WHOLE = """\
x-defaults: &defaults
  provider: claude_main
  temperature: 0.5

providers:
  claude_main:
    type: anthropic
    api_key: ${ANTHROPIC_API_KEY}
    default_model: claude-sonnet-4-5
    max_tokens: 8192
    base_url: null
  deepseek:
    type: openai
    engine: litellm
    base_url: https://api.deepseek.com/v1
    api_key: ${DEEPSEEK_API_KEY}
    default_model: deepseek-chat
    enabled: auto
    headers: {X-Team: core}
    rate_limit:
      requests_per_minute: 600
      requests_per_day: 100000
      tokens_per_minute: 200000
      tokens_per_day: 100000000
      burst: 20
      concurrency: 8
      algorithm: sliding_window
  azure:
    type: litellm
    default_model: azure/gpt-4o
    api_key: env:AZURE_API_KEY
    base_url: https://myorg.openai.azure.com
    options: {api_version: 2024-10-21, tries: $<TRIES>, quoted: "${TRIES}"}
    timeout_s: ${TIMEOUT:-30}
    connect_timeout_s: 2.5
    idle_timeout_s: 20
  local:
    type: litellm
    default_model: ollama/llama3
    base_url: ${OLLAMA_BASE_URL:-http://localhost:11434}
    allow_http: false
    price: {input_usd_per_mtok: 0, output_usd_per_mtok: 0}
  priced:
    type: external
    price:
      small: {input_usd_per_mtok: 0.1, cache_read_usd_per_mtok: 0.01, request_usd: 0.005}
      large: {cache_write_usd_per_mtok: 1.25, cache_write_1h_usd_per_mtok: 2}
  script: {type: mock}

agents:
  planner:
    <<: *defaults
    model: claude-opus-4-6
    thinking: true
    fallback: [deepseek, {provider: local, model: ollama/llama3, weight: 2}]
    fallback_on: [content_filter, invalid_request]
    strategy: weighted
    weight: 3
  reviewer:
    provider: azure
    top_p: 0.9
    stop: [END, "###"]
    max_tokens: 1024
    thinking: {budget_tokens: 2048}
    cache: true
    api_key: $<REVIEWER_KEY>
    mode: interactive
    metadata: {team: [a, b], no: no}
    timeout_s: 5
  drafter: {thinking: low, stop: END}
  asleep: {enabled: false, provider: nowhere, api_key: "${GONE}"}
  plain:

default_provider: claude_main
retry: {max_attempts: 5, first_delay_s: 1, max_delay_s: 8}
circuit_breaker: {failures: 5, window_s: 60, open_s: 30, max_open_s: 300}
timeout_s: 120
budgets:
  - {name: day, limit_usd: 100, period: day, alert_at: [0.5, 0.8], on_unpriced: block}
  - name: reviewer
    match: {agent: reviewer, provider: azure, model: azure/gpt-4o, label: {run: r1}}
    limit_usd: 5.5
    period: ever
    mode: warn
ledger: {url: "sqlite:///.orchestify/usage.db", keep_days: 400, durability: power}
alerts: {error_rate: 0.1, slow_s: 30, daily_cost_usd: 50}
"""
ENVIRON = {
    "ANTHROPIC_API_KEY": SECRET,
    "AZURE_API_KEY": "0123",
    "REVIEWER_KEY": "${TRIES}",
    "TRIES": "3",
}

PROVIDERS = """\
providers:
  claude_main:
    type: anthropic
    api_key: ${ANTHROPIC_API_KEY}
    default_model: claude-sonnet-4-5
"""


@pytest.fixture
def config() -> Config:
    return parse_config(WHOLE, environ=ENVIRON)


def problems(text: str, environ: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, name="c.yaml", environ=environ or {})
    return caught.value.problems


def provider_problems(lines: str) -> tuple[str, ...]:
    return problems("providers:\n  p:\n    type: mock\n    " + lines)


def agent_problems(lines: str) -> tuple[str, ...]:
    return problems("providers: {p: {type: mock}}\nagents:\n  a:\n    provider: p\n    " + lines)


class TestGrammar:
    def test_every_key_of_a_provider_is_read(self, config: Config) -> None:
        deepseek = config.providers.providers["deepseek"]
        assert (deepseek.type, deepseek.engine) == ("openai", "litellm")
        assert deepseek.headers["X-Team"].get_secret_value() == "core"
        assert deepseek.rate_limit == RateLimitConfig(
            requests_per_minute=600,
            requests_per_day=100_000,
            tokens_per_minute=200_000,
            tokens_per_day=100_000_000,
            burst=20,
            concurrency=8,
            algorithm="sliding_window",
        )
        azure = config.providers.providers["azure"]
        assert (azure.timeout_s, azure.connect_timeout_s, azure.idle_timeout_s) == (30, 2.5, 20)
        assert azure.base_url == "https://myorg.openai.azure.com"
        assert config.providers.providers["claude_main"].max_tokens == 8192

    def test_price_is_for_all_models_or_by_model(self, config: Config) -> None:
        assert config.providers.providers["local"].price == PriceConfig(
            input_usd_per_mtok=Decimal(0), output_usd_per_mtok=Decimal(0)
        )
        assert config.providers.providers["priced"].price == {
            "small": PriceConfig(
                input_usd_per_mtok=Decimal("0.1"),
                cache_read_usd_per_mtok=Decimal("0.01"),
                request_usd=Decimal("0.005"),
            ),
            "large": PriceConfig(
                cache_write_usd_per_mtok=Decimal("1.25"), cache_write_1h_usd_per_mtok=Decimal(2)
            ),
        }

    def test_every_key_of_an_agent_is_read(self, config: Config) -> None:
        planner, reviewer = (config.agents.agents[name] for name in ("planner", "reviewer"))
        assert (planner.provider, planner.temperature) == ("claude_main", 0.5)
        assert planner.fallback == (
            TargetConfig(provider="deepseek"),
            TargetConfig(provider="local", model="ollama/llama3", weight=2),
        )
        assert planner.fallback_on == ("content_filter", "invalid_request")
        assert (planner.strategy, planner.weight) == ("weighted", 3)
        assert (reviewer.top_p, reviewer.stop, reviewer.max_tokens) == (0.9, ("END", "###"), 1024)
        assert (reviewer.cache, reviewer.mode) == (True, "interactive")
        assert reviewer.metadata == {"team": ["a", "b"], "no": "no"}

    def test_thinking_is_a_flag_an_effort_or_a_budget(self, config: Config) -> None:
        assert config.agents.agents["planner"].thinking is True
        assert config.agents.agents["drafter"].thinking == "low"
        assert config.agents.agents["reviewer"].thinking == ThinkingBudget(budget_tokens=2048)

    def test_top_only_keys_are_read(self, config: Config) -> None:
        assert config.default_provider == "claude_main"
        assert config.retry == RetryConfig(max_attempts=5, first_delay_s=1, max_delay_s=8)
        day, reviewer = config.budgets
        assert (day.limit_usd, day.period, day.alert_at) == (Decimal(100), "day", (0.5, 0.8))
        assert (day.mode, day.on_unpriced) == ("hard", "block")
        assert (reviewer.limit_usd, reviewer.mode) == (Decimal("5.5"), "warn")
        assert (reviewer.match.agent, reviewer.match.label) == ("reviewer", {"run": "r1"})
        assert config.ledger is not None
        assert (config.ledger.keep_days, config.ledger.durability) == (400, "power")
        assert config.alerts is not None
        assert config.alerts.daily_cost_usd == Decimal(50)

    def test_settings_go_where_the_providers_go(self, config: Config) -> None:
        assert config.providers.settings.budgets == config.budgets
        assert config.providers.settings.timeout_s == 120
        assert "settings" not in repr(config.providers)
        assert "settings" not in config.providers.model_dump()
        assert ProvidersConfig().settings == Settings()

    def test_agent_without_keys_and_host_keys_are_fine(self, config: Config) -> None:
        assert config.agents.agents["plain"] == AgentConfig()

    def test_models_are_frozen(self, config: Config) -> None:
        with pytest.raises(ValueError, match="frozen"):
            config.agents.agents["planner"].model = "other"

    def test_schema_accepts_the_whole_grammar(self) -> None:
        document = yaml.safe_load(WHOLE.replace("2024-10-21", "'2024-10-21'"))
        jsonschema.validate(document, config_schema())

    def test_schema_lets_a_variable_stand_for_any_scalar(self) -> None:
        provider = {
            "type": "${T}",
            "max_tokens": "${N:-1}",
            "allow_http": "$<B>",
            "timeout_s": "env:S",
        }
        jsonschema.validate({"providers": {"p": provider}}, config_schema())

    @pytest.mark.parametrize(
        "document", [{"provider": {}}, {"providers": {"p": {"type": "mock", "max_tokens": "x"}}}]
    )
    def test_schema_refuses_what_loading_refuses(self, document: object) -> None:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document, config_schema())

    def test_all_public_names_are_listed(self) -> None:
        assert sorted(module.__all__) == [
            "AgentConfig", "AgentsConfig", "AlertsConfig", "BudgetConfig", "BudgetMatch",
            "CircuitBreakerConfig", "Config", "ConfigError", "EffectivePolicies", "LedgerConfig",
            "Origin", "Policies", "PriceConfig", "ProviderConfig", "ProvidersConfig",
            "RateLimitConfig", "RetryConfig", "Settings", "TargetConfig", "TaskConfig",
            "ThinkingBudget", "config_schema", "load_config", "parse_config", "policies_for",
        ]  # fmt: skip


class TestVariables:
    def test_variable_alone_is_reread_where_no_text_is_expected(self, config: Config) -> None:
        assert config.providers.providers["azure"].options == {
            "api_version": "2024-10-21",
            "tries": 3,
            "quoted": "3",
        }

    def test_key_stays_text(self, config: Config) -> None:
        key = config.providers.providers["azure"].api_key
        assert key is not None
        assert key.get_secret_value() == "0123"

    def test_value_from_the_environment_is_filled_in_once(self, config: Config) -> None:
        key = config.agents.agents["reviewer"].api_key
        assert key is not None
        assert key.get_secret_value() == "${TRIES}"

    def test_unset_variable_is_a_problem_at_its_line(self) -> None:
        assert problems(PROVIDERS) == (
            "c.yaml:4:5: providers.claude_main.api_key: variable ANTHROPIC_API_KEY is not set",
        )

    def test_variable_set_to_nothing_is_unset(self) -> None:
        assert len(problems(PROVIDERS, {"ANTHROPIC_API_KEY": ""})) == 1

    def test_malformed_variable_is_a_problem(self) -> None:
        assert provider_problems("api_key: ${my-key}") == (
            "c.yaml:4:5: providers.p.api_key: a variable is written ${NAME} or "
            "${NAME:-default}; write $${ for a literal ${",
        )

    def test_quoted_variable_is_reread_where_a_number_is_expected(self) -> None:
        text = 'providers: {p: {type: mock, max_tokens: "${N}", price: {request_usd: "${N}"}}}'
        provider = parse_config(text, environ={"N": "3"}).providers.providers["p"]
        assert provider.max_tokens == 3
        assert provider.price == PriceConfig(request_usd=Decimal(3))

    def test_a_price_finer_than_a_picodollar_is_rounded(self) -> None:
        text = "providers: {p: {type: mock, price: {request_usd: 1.0e-300}}}"
        price = parse_config(text).providers.providers["p"].price
        assert str(price.request_usd) == "0E-12"

    def test_quoted_number_is_text(self) -> None:
        assert provider_problems("max_tokens: '3'") == (
            "c.yaml:4:5: providers.p.max_tokens: expected a whole number",
        )

    def test_auto_turns_a_provider_off_and_names_the_variables(self, config: Config) -> None:
        assert config.providers.off == {"deepseek": "DEEPSEEK_API_KEY is not set"}
        assert not config.providers.providers["deepseek"].is_enabled

    def test_auto_leaves_a_provider_on_where_its_variables_are_set(self) -> None:
        loaded = parse_config(WHOLE, environ={**ENVIRON, "DEEPSEEK_API_KEY": SECRET})
        assert loaded.providers.off == {}

    def test_auto_needs_nothing_that_an_unset_variable_would_give(self) -> None:
        given = "default_model: '${A}', headers: {X: $<B>}"
        text = f"providers: {{p: {{type: openai, enabled: auto, {given}}}}}"
        assert parse_config(text, environ={}).providers.off == {"p": "A, B are not set"}

    def test_disabled_provider_needs_no_variables(self) -> None:
        text = "providers: {p: {type: openai, enabled: false, api_key: '${A}'}}"
        assert parse_config(text, environ={}).providers.off == {"p": "enabled: false"}

    def test_nothing_reads_the_environment_after_loading(self) -> None:
        environ = {"K": "1"}
        loaded = parse_config("providers: {p: {type: mock, max_tokens: env:K}}", environ=environ)
        environ.clear()
        assert loaded.providers.providers["p"].max_tokens == 1

    def test_provider_built_in_code_fills_its_own_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CODE_KEY", SECRET)
        monkeypatch.setenv("CODE_MAX", "12")
        provider = ProviderConfig.model_validate(
            {
                "type": "openai",
                "api_key": "${CODE_KEY}",
                "default_model": "m",
                "max_tokens": "${CODE_MAX}",
            }
        )
        assert provider.api_key is not None
        assert provider.api_key.get_secret_value() == SECRET
        assert provider.max_tokens == 12

    def test_provider_built_in_code_names_what_is_unset(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CODE_KEY", raising=False)
        with pytest.raises(ConfigError) as caught:
            ProviderConfig(type="openai", api_key="${CODE_KEY}", default_model="m")
        assert str(caught.value) == "ProviderConfig.api_key: variable CODE_KEY is not set"


class TestProblems:
    def test_all_come_at_once_in_file_order(self) -> None:
        text = (
            "providers:\n"
            "  claude_main:\n"
            "    type: antropic\n"
            "    max_token: 5\n"
            "    timeout_s: 0\n"
            "agents:\n"
            "  a: {provider: claude_mian, temperature: hot}\n"
            "retri: {}\n"
        )
        assert problems(text) == (
            "c.yaml:3:5: providers.claude_main.type: expected one of anthropic, openai, litellm, "
            "mock, external, claude, google, gemini, azure, ollama, deepseek, groq, mistral, xai, "
            "openrouter, together; did you mean 'anthropic'?",
            "c.yaml:4:5: providers.claude_main.max_token: unknown key; did you mean 'max_tokens'?",
            "c.yaml:5:5: providers.claude_main.timeout_s: expected a number above 0",
            "c.yaml:7:7: agents.a.provider: no such provider; did you mean 'claude_main'?",
            "c.yaml:7:30: agents.a.temperature: expected a number",
            "c.yaml:8:1: retri: unknown key; did you mean 'retry'?",
        )

    def test_a_mistake_hides_no_reference_beside_it(self) -> None:
        text = (
            "providers: {p: {type: mock}}\n"
            "default_provider: q\n"
            "timeout_s: 0\n"
            "agents:\n"
            "  a: {provider: r, fallback: [s], top_k: 1}\n"
        )
        assert problems(text) == (
            "c.yaml:2:1: default_provider: no such provider; there are: p",
            "c.yaml:3:1: timeout_s: expected a number above 0",
            "c.yaml:5:7: agents.a.provider: no such provider; there are: p",
            "c.yaml:5:31: agents.a.fallback.0: no such provider; there are: p",
            "c.yaml:5:35: agents.a.top_k: unknown key; did you mean 'top_p'?",
        )

    def test_a_misspelled_key_is_not_said_to_be_missing_too(self) -> None:
        assert problems("providers: {p: {type: mock}}\nagents: {a: {provder: p}}\n") == (
            "c.yaml:2:14: agents.a.provder: unknown key; did you mean 'provider'?",
        )

    def test_an_unset_variable_is_not_said_to_be_missing_too(self) -> None:
        assert problems("providers: {p: {type: mock}}\nagents: {a: {provider: '${P}'}}\n") == (
            "c.yaml:2:14: agents.a.provider: variable P is not set",
        )

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("default_provider: q", "default_provider: no such provider; there are: p"),
            ("default_provider: 3", "default_provider: expected text; put it in quotes"),
            ("default_provider: ${P}", "default_provider: variable P is not set"),
            ("default_provder: p", "default_provder: unknown key; did you mean "
             "'default_provider'?"),
        ],
    )  # fmt: skip
    def test_agents_are_not_blamed_for_a_wrong_default(self, line: str, problem: str) -> None:
        text = f"{line}\nproviders: {{p: {{type: mock}}}}\nagents: {{a: {{}}, b: {{}}}}\n"
        assert problems(text) == (f"c.yaml:1:1: {problem}",)

    def test_agents_have_a_default_beside_which_another_key_is_wrong(self) -> None:
        text = "default_provider: p\nretri: 1\nproviders: {p: {type: mock}}\nagents: {a: {}}\n"
        assert problems(text + "timeout_s: 0\n") == (
            "c.yaml:2:1: retri: unknown key; did you mean 'retry'?",
            "c.yaml:5:1: timeout_s: expected a number above 0",
        )

    @pytest.mark.parametrize(
        ("lines", "problem"),
        [
            ("model: m", "4:5: providers.p.model: unknown key; did you mean 'default_model'?"),
            ("timeout: 3", "4:5: providers.p.timeout: unknown key; did you mean 'timeout_s'?"),
            ("default_model: 4", "4:5: providers.p.default_model: expected text; put it in quotes"),
            ("default_model: ''", "4:5: providers.p.default_model: expected text, not nothing"),
            ("max_tokens: 0", "4:5: providers.p.max_tokens: expected a number of at least 1"),
            ("max_tokens: 1.5", "4:5: providers.p.max_tokens: expected a whole number"),
            ("max_tokens: true", "4:5: providers.p.max_tokens: expected a whole number"),
            ("timeout_s: .inf", "4:5: providers.p.timeout_s: expected a finite number"),
            ("timeout_s: .nan", "4:5: providers.p.timeout_s: expected a finite number"),
            ("allow_http: yes", "4:5: providers.p.allow_http: expected true or false"),
            ("enabled: on", "4:5: providers.p.enabled: expected true, false or auto"),
            ("options: [1]", "4:5: providers.p.options: expected a mapping of keys to values"),
            ("options: {api_base: x}", "4:15: providers.p.options.api_base: not an option; it is "
             "a key of its own or set per call"),
            ("headers: {X: 3}", "4:15: providers.p.headers.X: expected text; put it in quotes"),
            ("headers: {X: \"a\\nb\"}", "4:15: providers.p.headers.X: expected one line of text"),
            ("price: 3", "4:5: providers.p.price: expected prices, or prices by model"),
            ("price: {}", "4:5: providers.p.price: expected at least one price"),
            ("price: {request_usd: 1.0e+300}",
             "4:13: providers.p.price.request_usd: expected at most 1,000,000,000,000"),
            ("price: {request_usd: -1}",
             "4:13: providers.p.price.request_usd: expected a number of at least 0"),
            ("price: {m: {request_usd: x}}",
             "4:17: providers.p.price.m.request_usd: expected a number"),
            ("engine: direct", "4:5: providers.p.engine: type mock has no direct lane"),
            ("base_url: ftp://x",
             "4:5: providers.p.base_url: expected an http or https address with a host"),
            ("base_url: https://", "4:5: providers.p.base_url: expected an http or https address "
             "with a host"),
            ("base_url: https://me:pw@host",
             "4:5: providers.p.base_url: credentials do not belong in an address; use api_key"),
            ("api_key: vault:a b",
             "4:5: providers.p.api_key: a key of the vault is written vault:NAME, without "
             "variables; a name has letters, digits, dots, dashes and underscores"),
            ("api_key: ' '", "4:5: providers.p.api_key: expected a key, not blanks"),
            ("api_keys: [a, ' ']", "4:19: providers.p.api_keys.1: expected a key, not blanks"),
            ("api_keys: []", "4:5: providers.p.api_keys: expected at least one key"),
            ("api_keys: [a, b, a]", "4:22: providers.p.api_keys.2: another one is the same key"),
            ("api_keys: [a, vault:a b]",
             "4:19: providers.p.api_keys.1: a key of the vault is written vault:NAME, without "
             "variables; a name has letters, digits, dots, dashes and underscores"),
            ("api_keys: [a, '${NOT_SET}']",
             "4:19: providers.p.api_keys.1: variable NOT_SET is not set"),
            ("spread: random",
             "4:5: providers.p.spread: expected one of sticky, least_used, fill_first"),
            ("sticky_by: run", "4:5: providers.p.sticky_by: expected label:NAME"),
            ("retry: {max_delay_s: 0.5}",
             "4:13: providers.p.retry.max_delay_s: expected no less than first_delay_s"),
            ("circuit_breaker: {open_s: 301}", "4:5: providers.p.circuit_breaker.max_open_s: "
             "expected no less than open_s"),
            ("rate_limit: {algorithm: leaky}", "4:18: providers.p.rate_limit.algorithm: expected "
             "one of token_bucket, sliding_window, fixed_window"),
        ],
    )  # fmt: skip
    def test_of_a_provider(self, lines: str, problem: str) -> None:
        assert provider_problems(lines) == (f"c.yaml:{problem}",)

    @pytest.mark.parametrize(
        ("lines", "problem"),
        [
            ("temperature: -1", "5:5: agents.a.temperature: expected a number of at least 0"),
            ("top_p: 2", "5:5: agents.a.top_p: expected a number of at most 1"),
            ("thinking: often", "5:5: agents.a.thinking: expected true, false, none, minimal, low, "
             "medium, high, xhigh, max or {budget_tokens: n}"),
            ("thinking: {budget: 1}", "5:16: agents.a.thinking.budget: unknown key; did you mean "
             "'budget_tokens'?"),
            ("stop: [3]", "5:12: agents.a.stop.0: expected text; put it in quotes"),
            ("fallback: p", "5:5: agents.a.fallback: expected a list"),
            ("fallback: [q]", "5:16: agents.a.fallback.0: no such provider"),
            ("fallback: [{provider: p}]", "5:16: agents.a.fallback.0: the same provider and "
             "model stand earlier in the chain"),
            ("fallback: [{model: m}]", "5:16: agents.a.fallback.0.provider: missing"),
            ("strategy: random", "5:5: agents.a.strategy: expected one of priority, round_robin, "
             "least_recently_used, weighted, health"),
            ("mode: manual", "5:5: agents.a.mode: expected one of autonomous, interactive"),
            ("enabled: auto", "5:5: agents.a.enabled: expected true or false"),
        ],
    )  # fmt: skip
    def test_of_an_agent(self, lines: str, problem: str) -> None:
        assert problem in "\n".join(agent_problems(lines))
        assert len(agent_problems(lines)) <= 2

    @pytest.mark.parametrize(
        ("top", "problem"),
        [
            ("default_provider: q", "2:1: default_provider: no such provider; there are: p"),
            ("budgets: {}", "2:1: budgets: expected a list"),
            ("budgets: [&a {name: a, limit_usd: 1, period: day}, *a]",
             "2:15: budgets.1.name: another budget has this name"),
            ("budgets: [{name: a, limit_usd: 1, period: day, match: {provider: q}}]",
             "2:56: budgets.0.match.provider: no such provider; there are: p"),
            ("budgets: [{name: a, limit_usd: 1, period: day, match: {agent: q}}]",
             "2:56: budgets.0.match.agent: no such agent"),
            ("budgets: [{name: a, limit_usd: 1, period: day, alert_at: [80]}]",
             "2:59: budgets.0.alert_at.0: expected a share of the limit; 0.8 is 80 %"),
            *[
                (f"ledger: {{url: '{url}'}}",
                 "2:10: ledger.url: names no file; write sqlite:///path, with three slashes")
                for url in ("sqlite://usage.db", "sqlite:///:memory:", "sqlite:///")
            ],
            ("budgets: [{name: a, period: day}]",
             "2:11: budgets.0: expected limit_usd, limit_tokens or limit_calls"),
            ("budgets: [{name: a, limit_usd: 1}]", "2:11: budgets.0.period: missing"),
            ("budgets: [{name: a, limit_usd: 1, per: run}]",
             "2:35: budgets.0.per: expected label:NAME"),
            ("budgets: [{name: a, limit_usd: 1, period: day, keep_days: 3}]",
             "2:48: budgets.0.keep_days: only for a budget with per, whose period is ever"),
            ("budgets: [{name: a, limit_calls: 0, period: day}]",
             "2:21: budgets.0.limit_calls: expected a number of at least 1"),
            ("budgets: [{name: a, limit_usd: 1, per: 'label:r', step_down: [{at: 0.5}]}]",
             "2:63: budgets.0.step_down.0: expected provider or agent"),
            ("budgets: [{name: a, limit_usd: 1, per: 'label:r', "
             "step_down: [{at: 0.5, agent: q}]}]",
             "2:73: budgets.0.step_down.0.agent: no such agent"),
            ("budgets: [{name: a, limit_usd: 1, per: 'label:r', "
             "step_down: [{at: 0.5, provider: p}, {at: 0.5, provider: p, model: m}]}]",
             "2:88: budgets.0.step_down.1.at: expected more than at the step before"),
            ("ledger: {durability: none}",
             "2:10: ledger.durability: expected one of process, power"),
            ("alerts: {error_rate: 2}", "2:10: alerts.error_rate: expected a number of at most 1"),
            ("agents: [a]", "2:1: agents: expected a mapping of keys to values"),
            ("agents: {a: {}}",
             "2:10: agents.a.provider: missing; name one here or as default_provider"),
        ],
    )  # fmt: skip
    def test_of_the_top(self, top: str, problem: str) -> None:
        assert problems("providers: {p: {type: mock}}\n" + top) == (f"c.yaml:{problem}",)

    def test_agent_whose_provider_is_off_is_told_why(self) -> None:
        text = (
            "providers: {p: {type: openai, default_model: m, enabled: auto, api_key: env:GONE}}\n"
            "agents: {a: {provider: p}}\n"
        )
        assert problems(text) == (
            "c.yaml:2:14: agents.a.provider: this provider is off (GONE is not set)",
        )

    def test_provider_needs_a_model_unless_it_is_mock_or_external(self) -> None:
        assert problems("providers: {a: {type: openai}, b: {type: external}}") == (
            "c.yaml:1:13: providers.a.default_model: missing; a provider of type openai needs one",
        )

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "c.yaml: the file is empty"),
            ("# nothing\n", "c.yaml: the file is empty"),
            ("- a", "c.yaml: expected a mapping of keys to values"),
            ("agents: {}", "c.yaml: providers: missing"),
            ("providers: 3", "c.yaml:1:1: providers: expected a mapping of keys to values"),
            ("providers: {p: 3}", "c.yaml:1:13: providers.p: expected a mapping of keys to values"),
        ],
    )
    def test_of_the_whole_document(self, text: str, problem: str) -> None:
        assert problems(text) == (problem,)

    def test_value_that_became_a_key_is_not_shown(self) -> None:
        (problem,) = problems(f"providers: {{p: {{type: mock, api_key:{SECRET}}}}}")
        assert problem == "c.yaml:1:29: providers.p.…: unknown key"

    def test_a_file_of_mistakes_shows_the_first_thousand(self) -> None:
        text = "providers: {p: {type: mock}}\n" + "".join(f"k{n}: 1\n" for n in range(2_000))
        assert problems(text)[999:] == (
            "c.yaml:1001:1: k999: unknown key",
            "and more; these are the first 1,000",
        )


class TestSecrets:
    def test_key_shows_neither_in_repr_nor_in_dumps(self) -> None:
        provider = ProviderConfig(
            type="litellm",
            default_model="m",
            api_key=SECRET,
            headers={"Authorization": SECRET},
            options={"aws_secret_access_key": SECRET, "list": [SECRET, 1]},
        )
        agent = AgentConfig(api_key=SECRET)
        ledger = LedgerConfig(url=f"postgresql://me:{SECRET}@db/usage")
        for part in (provider, agent, ledger, ProvidersConfig(providers={"p": provider})):
            shown = f"{part!r} {part} {part.model_dump()} {part.model_dump_json()}"
            assert SECRET not in shown

    def test_error_and_its_traceback_with_locals_show_no_key(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_text(f"providers: {{p: {{type: {SECRET}, api_key: {SECRET}}}}}")
        with pytest.raises(ConfigError) as caught:
            load_config(tmp_path / "c.yaml", environ={"KEY": SECRET})
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        own_frames = [line for line in shown.format() if "test_config.py" not in line]
        assert SECRET not in "".join(own_frames)
        assert caught.value.__context__ is None

    def test_error_of_a_model_built_in_code_shows_no_key(self) -> None:
        with pytest.raises(ConfigError) as caught:
            ProviderConfig.model_validate({"type": SECRET, "api_key": [SECRET], SECRET * 9: SECRET})
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert SECRET not in str(caught.value)
        assert SECRET not in "".join(line for line in shown.format() if "test_conf" not in line)
        assert caught.value.__context__ is None

    def test_configuration_is_not_pickled(self, config: Config) -> None:
        with pytest.raises(TypeError, match="a Config may hold keys and cannot be pickled"):
            pickle.dumps(config)
        with pytest.raises(TypeError, match="a ProviderConfig may hold keys"):
            pickle.dumps(config.providers.providers["local"])

    def test_configuration_can_be_copied(self, config: Config) -> None:
        assert copy.deepcopy(config) == config

    @pytest.mark.parametrize(
        "url",
        [
            "http://api.example.com/v1",
            "http://8.8.8.8",
            "http://134744072/v1",
            "http://0x8.8.8.8",
            "http://[2606:4700::1]/v1",
            "http://[::ffff:8.8.8.8]",
        ],
    )
    def test_key_over_plain_http_to_a_public_host_is_refused(self, url: str) -> None:
        text = (
            f'providers: {{p: {{type: openai, default_model: m, api_key: k, base_url: "{url}"}}}}'
        )
        (problem,) = problems(text)
        assert problem.endswith(
            "a key would go over plain http to a public host; use https, or set allow_http: true"
        )
        allowed = text.replace("api_key: k", "api_key: k, allow_http: true")
        assert len(config_warnings(parse_config(allowed, environ={}))) == 1

    @pytest.mark.parametrize(
        ("url", "count"),
        [
            ("http://ollama:11434", 1),
            ("http://10.0.0.4", 1),
            ("http://box.local", 1),
            ("http://[fd00::1]/v1", 1),
            ("http://localhost:8000", 0),
            ("http://127.0.0.1", 0),
            ("http://[::1]:8000", 0),
            ("https://api.example.com", 0),
        ],
    )
    def test_key_over_plain_http_to_a_private_host_is_noted(self, url: str, count: int) -> None:
        text = (
            f'providers: {{p: {{type: openai, default_model: m, api_key: k, base_url: "{url}"}}}}'
        )
        assert len(config_warnings(parse_config(text, environ={}))) == count

    def test_agent_key_over_plain_http_counts_too(self) -> None:
        text = (
            "providers: {p: {type: openai, default_model: m, base_url: http://a.example.com}}\n"
            "agents: {a: {provider: p, api_key: k}}\n"
        )
        (problem,) = problems(text)
        assert problem.startswith("c.yaml:2:27: agents.a.api_key: a key would go over plain http")


class TestFiles:
    def test_directory_takes_three_files_and_leaves_others_alone(self, tmp_path: Path) -> None:
        (tmp_path / "providers.yaml").write_text("providers: {p: {type: mock}}\nx-a: 1\n")
        (tmp_path / "agents.yml").write_text("agents: {a: {provider: p}}\nx-a: 2\n")
        (tmp_path / "policies.yaml").write_text("timeout_s: 9\n")
        (tmp_path / "memory.yaml").write_text("{not: read")
        loaded = load_config(str(tmp_path))
        assert loaded.timeout_s == 9
        assert loaded.files == tuple(
            f"{tmp_path}/{name}" for name in ("providers.yaml", "agents.yml", "policies.yaml")
        )

    def test_policies_may_be_empty(self, tmp_path: Path) -> None:
        (tmp_path / "providers.yaml").write_text("providers: {}\n")
        (tmp_path / "agents.yaml").write_text("agents:\n")
        (tmp_path / "policies.yaml").write_text("# retry: {}\n")
        assert load_config(tmp_path).agents.agents == {}

    def test_problems_of_all_files_come_in_one_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        os.mkdir("config")
        Path("config/providers.yaml").write_text(PROVIDERS + "    max_token: 5\n")
        Path("config/agents.yaml").write_text("agents: {a: {provider: claude_min}}\n")
        Path("config/policies.yaml").write_text("agents: {}\nretry: {tries: 1}\n")
        with pytest.raises(ConfigError) as caught:
            load_config("config", environ={"ANTHROPIC_API_KEY": SECRET})
        assert caught.value.problems == (
            "config/providers.yaml:6:5: providers.claude_main.max_token: unknown key; "
            "did you mean 'max_tokens'?",
            "config/agents.yaml:1:14: agents.a.provider: no such provider; "
            "did you mean 'claude_main'?",
            "config/policies.yaml:1:1: agents: also stands in config/agents.yaml; keep one",
            "config/policies.yaml:2:9: retry.tries: unknown key",
        )

    def test_missing_files_are_problems(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            load_config(tmp_path)
        assert caught.value.problems == (f"{tmp_path}/providers.yaml: no such file or directory",)
        with pytest.raises(ConfigError, match="no such file or directory"):
            load_config(tmp_path / "gone")

    def test_a_file_named_in_the_singular_is_noted_and_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "providers.yaml").write_text("providers: {p: {type: mock}}\n")
        (tmp_path / "policy.yaml").write_text("timeout_s: 9\n")
        (tmp_path / "agent.yml").write_text("{not: read")
        loaded = load_config(tmp_path)
        assert loaded.timeout_s is None
        assert config_warnings(loaded) == (
            f"{tmp_path}/agent.yml: not read; the name is agents.yaml",
            f"{tmp_path}/policy.yaml: not read; the name is policies.yaml",
        )

    def test_providers_under_another_name_are_pointed_at(self, tmp_path: Path) -> None:
        (tmp_path / "provider.yml").write_text("providers: {}\n")
        with pytest.raises(ConfigError, match=r"such file or directory; provider\.yml is there"):
            load_config(tmp_path)

    def test_a_file_without_its_folder_is_one_problem_and_not_every_agents(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "agents.yaml").write_text("agents: {a: {provider: p}, b: {provider: q}}\n")
        with pytest.raises(ConfigError) as caught:
            load_config(tmp_path / "agents.yaml")
        assert caught.value.problems == (
            f"{tmp_path}/agents.yaml: providers: missing; "
            "name the folder, so that all its files are read",
        )

    def test_a_directory_needs_no_agents(self, tmp_path: Path) -> None:
        (tmp_path / "providers.yaml").write_text("providers: {p: {type: mock}}\n")
        assert load_config(tmp_path).agents.agents == {}

    def test_agents_may_stand_in_the_wrong_file(self, tmp_path: Path) -> None:
        (tmp_path / "providers.yaml").write_text(
            "providers: {p: {type: mock}}\nagents: {a: {provider: p}}\n"
        )
        assert list(load_config(tmp_path).agents.agents) == ["a"]

    def test_two_spellings_of_a_file_are_a_problem(self, tmp_path: Path) -> None:
        for name in ("providers.yaml", "providers.yml", "agents.yaml"):
            (tmp_path / name).write_text("x-a: 1\n")
        with pytest.raises(ConfigError, match=r"providers\.yml: providers\.yaml is there too"):
            load_config(tmp_path)

    def test_what_is_not_utf_8_is_a_problem(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_bytes("providers: {}".encode("utf-16"))
        with pytest.raises(ConfigError, match=r"c\.yaml: not UTF-8; save it as UTF-8$"):
            load_config(tmp_path / "c.yaml")

    def test_large_file_is_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_bytes(b"#" * 4_000_001)
        with pytest.raises(ConfigError, match=r"c\.yaml: larger than 4 MB$"):
            load_config(tmp_path / "c.yaml")

    def test_file_that_is_cut_off_hides_no_key_of_another(self, tmp_path: Path) -> None:
        (tmp_path / "providers.yaml").write_text("providers: {p: {")
        (tmp_path / "agents.yaml").write_text("agents: {a: {provider: p}}\n")
        with pytest.raises(ConfigError) as caught:
            load_config(tmp_path)
        assert len(caught.value.problems) == 1

    def test_relative_ledger_starts_at_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_text('providers: {}\nledger: {url: "sqlite:///a/u.db"}\n')
        ledger = load_config(tmp_path / "c.yaml").ledger
        assert ledger is not None
        assert ledger.url is not None
        assert ledger.url.get_secret_value() == f"sqlite:///{tmp_path}/a/u.db"


class TestOrigins:
    def test_key_is_found_where_it_is_written(self, config: Config) -> None:
        assert str(config.origin("agents.planner.model")) == "<text>:53:5"
        assert config.origin(("budgets", 1, "name")) == ("<text>", 80, 5)
        assert config.origin("budgets.1.name") == ("<text>", 80, 5)

    def test_merged_key_is_found_at_its_anchor(self, config: Config) -> None:
        assert config.origin("agents.planner.temperature") == ("<text>", 3, 3)

    def test_key_with_dots_is_found(self) -> None:
        loaded = parse_config("providers: {a.b: {type: mock}}", environ={})
        assert loaded.origin("providers.a.b.type") == ("<text>", 1, 19)

    def test_unwritten_key_has_no_origin(self, config: Config) -> None:
        assert config.origin("agents.planner.top_p") is None
        assert config.origin("") is None
        assert Config().origin("agents") is None


class TestPolicies:
    def test_unwritten_policies_are_the_documented_ones(self) -> None:
        policies = policies_for(Settings())
        assert policies.retry == RetryConfig(max_attempts=5, first_delay_s=1, max_delay_s=8)
        assert policies.circuit_breaker == CircuitBreakerConfig(
            failures=5, window_s=60, open_s=30, max_open_s=300
        )
        assert policies.rate_limit is None
        assert (policies.timeout_s, policies.connect_timeout_s, policies.idle_timeout_s) == (
            600,
            10,
            300,
        )
        assert set(policies.levels.values()) == {"default"}

    def test_nearest_wins_key_by_key(self) -> None:
        policies = policies_for(
            Settings(timeout_s=1, connect_timeout_s=1, retry=RetryConfig(max_attempts=9)),
            ProviderConfig(type="mock", timeout_s=2, idle_timeout_s=2),
            AgentConfig(timeout_s=3, retry=RetryConfig(max_delay_s=30)),
        )
        assert (policies.timeout_s, policies.idle_timeout_s, policies.connect_timeout_s) == (
            3,
            2,
            1,
        )
        assert policies.retry == RetryConfig(max_attempts=5, first_delay_s=1, max_delay_s=30)
        assert policies.levels == {
            "retry": "agent",
            "circuit_breaker": "default",
            "rate_limit": "default",
            "timeout_s": "agent",
            "connect_timeout_s": "top",
            "idle_timeout_s": "provider",
            "first_output_timeout_s": "default",
            "attempt_timeout_s": "default",
            "stream_timeout_s": "default",
            "response_cache": "default",
        }

    @pytest.mark.parametrize(
        ("written", "on"),
        [("true", True), ("{ttl_s: 60}", True), ("false", False), ("{enabled: false}", False)],
    )
    def test_a_response_cache_is_on_or_off_or_how(self, written: str, on: bool) -> None:
        found = parse_config(f"providers: {{}}\nresponse_cache: {written}").response_cache
        assert found is not None
        assert found.enabled is on
        assert (found.ttl_s, found.at) == (60 if "60" in written else 3600, "memory")

    @pytest.mark.parametrize(
        ("written", "what"),
        [
            ("{at: ledger, url: 'redis://h'}", "response_cache.url: only with at: redis"),
            (
                "{at: redis, url: 'http://h'}",
                "response_cache.url: expected redis://host:port/number",
            ),
            ("{at: disk}", "response_cache.at: expected"),
            ("{ttl_s: 0}", "response_cache.ttl_s: expected"),
            ("1", "response_cache: expected"),
        ],
    )
    def test_a_response_cache_that_cannot_be_is_a_problem(self, written: str, what: str) -> None:
        with pytest.raises(ConfigError) as refused:
            parse_config(f"providers: {{}}\nresponse_cache: {written}")
        assert what in refused.value.problems[0]

    def test_a_response_cache_that_is_elsewhere_is_noted(self) -> None:
        config = parse_config(
            "response_cache: {at: ledger}\n"
            "agents: {a: {provider: p, response_cache: {at: redis}}}\n"
            "providers: {p: {type: mock, default_model: m}}\n"
        )
        assert [note.partition(": ")[2] for note in config_warnings(config)] == [
            "response_cache.at: the ledger is in memory, so these answers are, too, but in the "
            "service",
            "agents.a.response_cache.at: no url; only the service has a Redis of its own, "
            "elsewhere it is needed",
        ]


def test_a_configuration_without_anything_odd_has_no_notes(config: Config) -> None:
    assert config_warnings(config) == ()


def test_budget_needs_a_period() -> None:
    with pytest.raises(ConfigError, match="period: missing"):
        BudgetConfig(name="a", limit_usd=1)


def test_a_ledger_nobody_can_open_is_a_problem_at_its_line() -> None:
    with pytest.raises(ConfigError, match=r"ledger\.url: expected sqlite:///path or postgresql"):
        parse_config('providers: {p: {type: mock}}\nledger: {url: "mysql://u:pw@h/db"}\n')


def test_a_provider_that_goes_home_without_a_key_is_noted() -> None:
    config = parse_config("providers: {p: {type: openai, default_model: gpt-4o}}\n", environ={})
    assert config_warnings(config) == (
        "<text>:1:13: providers.p: no api_key; the provider will refuse every call",
    )


class TestBudgetsOfRuns:
    def test_what_is_not_written_lasts_for_ever(self) -> None:
        text = "providers: {p: {type: mock}}\nbudgets: [{name: r, per: label:run, limit_usd: 2}]"
        (budget,) = parse_config(text).budgets
        assert (budget.per, budget.period, budget.limit_tokens) == ("label:run", None, None)

    def test_every_key_is_read(self) -> None:
        text = """
providers: {p: {type: mock}}
budgets:
  - name: run
    per: label:run
    limit_tokens: 100000
    limit_calls: 20
    keep_days: 3
    fit_output: true
    step_down: [{at: 0.7, provider: p, model: small}]
"""
        (budget,) = parse_config(text).budgets
        assert (budget.limit_usd, budget.limit_tokens, budget.limit_calls) == (None, 100_000, 20)
        assert (budget.keep_days, budget.fit_output) == (3, True)
        assert [(each.at, each.provider, each.model) for each in budget.step_down] == [
            (0.7, "p", "small")
        ]


class TestSeveralKeys:
    def test_they_come_from_variables_and_stay_hidden(self) -> None:
        text = "providers: {p: {type: openai, default_model: m, api_keys: ['${A}', '${B}']}}"
        provider = parse_config(text, environ={"A": "key-a", "B": "key-b"}).providers.providers["p"]
        assert [each.get_secret_value() for each in provider.keys] == ["key-a", "key-b"]
        assert "key-a" not in repr(provider)
        assert "key-a" not in str(provider.model_dump())

    def test_one_that_is_not_set_turns_an_automatic_provider_off(self) -> None:
        text = "providers: {p: {type: openai, default_model: m, enabled: auto, api_keys: ['${A}']}}"
        assert parse_config(text, environ={}).providers.off == {"p": "A is not set"}

    def test_they_stand_in_place_of_the_one(self) -> None:
        text = "providers: {p: {type: mock, api_key: a, api_keys: [b, c]}}"
        with pytest.raises(ConfigError, match="expected api_key or api_keys, not both"):
            parse_config(text)
