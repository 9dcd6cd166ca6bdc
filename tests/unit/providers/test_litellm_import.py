"""The configuration that is made of LiteLLM's."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestify.core.config import Config, load_config
from orchestify.errors import ConfigError
from orchestify.providers.litellm_import import convert

ROUTER = """\
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: https://europe.openai.azure.com/
      api_key: os.environ/AZURE_API_KEY_EU
      api_version: "2024-10-21"
      rpm: 6
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-ca
      api_base: https://canada.openai.azure.com/
      api_key: secret-one
      rpm: 12
  - model_name: claude
    litellm_params:
      model: anthropic/claude-sonnet-4-6
      max_tokens: 4096
      input_cost_per_token: 0.000003
      output_cost_per_token: 1.5e-05
      tags: [cheap]
  - model_name: deep
    litellm_params: {model: claude-opus-4-6, reasoning_effort: high}
  - model_name: local
    litellm_params: {model: openai/llama, api_base: "http://localhost:8000/v1"}
  - model_name: fast
    litellm_params: {model: groq/llama-3.3-70b-versatile}
litellm_settings:
  num_retries: 3
  request_timeout: 30
  success_callback: [langfuse]
  fallbacks: [{gpt-4o: [claude]}]
  content_policy_fallbacks: [{claude: [deep]}]
  default_fallbacks: [local]
  max_budget: 100
  budget_duration: 30d
router_settings:
  model_group_alias: {gpt-4: gpt-4o}
  allowed_fails: 3
  cooldown_time: 30
  provider_budget_config: {groq: {budget_limit: 5, time_period: 1d}}
"""
VARIABLES = (
    *("ANTHROPIC_API_KEY", "AZURE_API_KEY", "AZURE_API_KEY_EU", "GROQ_API_KEY", "OPENAI_API_KEY"),
)


def loaded(text: str, folder: Path) -> Config:
    for name, written in convert(text, "litellm.yaml").files.items():
        (folder / name).write_text(written, encoding="utf-8")
    return load_config(folder, environ=dict.fromkeys(VARIABLES, "k"))


def deployment(parameters: str, name: str = "m") -> str:
    return f"model_list: [{{model_name: '{name}', litellm_params: {parameters}}}]"


class TestDeployments:
    def test_those_of_one_account_share_a_provider(self, tmp_path: Path) -> None:
        providers = loaded(ROUTER, tmp_path).providers.providers
        assert {name: (each.type, each.default_model) for name, each in providers.items()} == {
            "azure": ("litellm", "azure/gpt-4o-eu"),
            "azure_2": ("litellm", "azure/gpt-4o-ca"),
            "anthropic": ("anthropic", "claude-sonnet-4-6"),
            "openai": ("openai", "llama"),
            "groq": ("openai", "llama-3.3-70b-versatile"),
        }

    def test_what_is_written_at_one_is_its_providers(self, tmp_path: Path) -> None:
        azure = loaded(ROUTER, tmp_path).providers.providers["azure"]
        assert azure.options == {"api_version": "2024-10-21"}
        assert azure.rate_limit is not None
        assert azure.rate_limit.requests_per_minute == 6

    def test_prices_are_of_a_million_tokens(self, tmp_path: Path) -> None:
        text = convert(ROUTER, "litellm.yaml").files["providers.yaml"]
        assert "input_usd_per_mtok: 3.0\n" in text
        assert "output_usd_per_mtok: 15.0\n" in text

    def test_a_credential_is_found_by_its_name(self, tmp_path: Path) -> None:
        text = """
credential_list: [{credential_name: house, credential_values: {api_key: os.environ/GROQ_API_KEY}}]
""" + deployment("{model: openai/gpt-4o, litellm_credential_name: house}")
        provider = loaded(text, tmp_path).providers.providers["openai"]
        assert provider.api_key is not None

    def test_a_pattern_is_a_provider_and_no_agent(self, tmp_path: Path) -> None:
        conversion = convert(deployment("{model: 'openai/*'}", "openai/*"), "litellm.yaml")
        assert conversion.files["agents.yaml"] == "agents:\n"
        assert "default_model: gpt-5.1" in conversion.files["providers.yaml"]
        assert "a call names openai/MODEL" in conversion.notes[0]

    def test_a_pattern_of_ones_own_is_an_alias(self, tmp_path: Path) -> None:
        text = deployment("{model: 'anthropic/claude-*', api_key: k-0123456789}", "claude-*")
        config = loaded(text, tmp_path)
        alias = config.models["claude-*"]
        assert (alias.provider, alias.model) == ("anthropic", "claude-*")

    @pytest.mark.parametrize("model", ["*", "bedrock/*"])
    def test_a_pattern_of_no_company_is_left_out_and_told(self, model: str) -> None:
        conversion = convert(deployment(f"{{model: '{model}'}}", "*"), "litellm.yaml")
        assert conversion.files["providers.yaml"] == "providers:\n"
        assert "write one by hand" in conversion.notes[0]

    def test_a_number_may_be_text(self, tmp_path: Path) -> None:
        config = loaded(deployment('{model: openai/a, max_tokens: "50", timeout: "30"}'), tmp_path)
        (provider,) = config.providers.providers.values()
        (agent,) = config.agents.agents.values()
        assert (agent.max_tokens, provider.attempt_timeout_s) == (50, 30)

    def test_a_model_that_does_not_chat_is_no_agent(self) -> None:
        text = """
model_list:
  - {model_name: e, litellm_params: {model: text-embedding-3-small}, model_info: {mode: embedding}}
"""
        assert convert(text, "litellm.yaml").files["agents.yaml"] == "agents:\n"


class TestGroups:
    def test_deployments_share_the_calls_and_fallbacks_come_after(self, tmp_path: Path) -> None:
        agent = loaded(ROUTER, tmp_path).agents.agents["gpt-4o"]
        assert (agent.provider, agent.strategy, agent.weight) == ("azure", "weighted", 6)
        assert [(each.provider, each.weight) for each in agent.fallback] == [
            ("azure_2", 12),
            ("anthropic", 0),
        ]

    def test_the_same_target_twice_has_both_shares(self, tmp_path: Path) -> None:
        once = "{model_name: a, litellm_params: {model: openai/x, rpm: 3}}"
        text = (
            f"model_list: [{once}, {once}, {{model_name: a, litellm_params: {{model: openai/y}}}}]"
        )
        (agent,) = loaded(text, tmp_path).agents.agents.values()
        assert (agent.weight, [each.model for each in agent.fallback]) == (6, ["y"])

    def test_an_alias_is_an_agent_with_the_same_chain(self, tmp_path: Path) -> None:
        agents = loaded(ROUTER, tmp_path).agents.agents
        assert agents["gpt-4"] == agents["gpt-4o"]

    def test_a_filters_fallback_goes_on_after_a_filter(self, tmp_path: Path) -> None:
        agent = loaded(ROUTER, tmp_path).agents.agents["claude"]
        assert [each.model for each in agent.fallback] == ["claude-opus-4-6"]
        assert agent.fallback_on == ("content_filter",)

    def test_default_fallbacks_are_of_those_without_their_own(self, tmp_path: Path) -> None:
        agents = loaded(ROUTER, tmp_path).agents.agents
        assert [each.model for each in agents["fast"].fallback] == ["llama"]
        assert agents["local"].fallback == ()

    def test_parameters_are_the_agents(self, tmp_path: Path) -> None:
        agents = loaded(ROUTER, tmp_path).agents.agents
        assert agents["claude"].max_tokens == 4096
        assert agents["deep"].thinking == "high"


def test_settings_become_policies_and_budgets(tmp_path: Path) -> None:
    config = loaded(ROUTER, tmp_path)
    assert config.retry is not None
    assert config.retry.max_attempts == 4
    assert config.attempt_timeout_s == 30
    assert config.circuit_breaker is not None
    assert (config.circuit_breaker.failures, config.circuit_breaker.open_s) == (4, 30)
    assert [(each.name, each.limit_usd, each.period) for each in config.budgets] == [
        ("all", 100, "month"),
        ("groq", 5, "day"),
    ]


class TestNotes:
    def test_what_has_no_counterpart_is_told_at_its_line_and_beside_its_provider(self) -> None:
        files, notes = convert(ROUTER, "litellm.yaml")
        tags = "litellm.yaml:21:7: model_list.2.litellm_params.tags: has no counterpart"
        assert tags in notes
        assert f"  # {tags}\n  anthropic:\n" in files["providers.yaml"]
        assert any("success_callback: use registry.on" in note for note in notes)

    def test_a_key_is_not_copied_but_named(self) -> None:
        files, notes = convert(ROUTER, "litellm.yaml")
        assert not any("secret-one" in text for text in (*files.values(), *notes))
        assert any(note.endswith("put it into the variable AZURE_API_KEY") for note in notes)

    def test_two_keys_have_two_variables(self) -> None:
        text = """
model_list:
  - {model_name: a, litellm_params: {model: openai/a, api_key: one}}
  - {model_name: b, litellm_params: {model: openai/b, api_key: two}}
  - {model_name: c, litellm_params: {model: openai/c, api_key: one}}
"""
        providers = convert(text, "litellm.yaml").files["providers.yaml"]
        assert providers.count("${OPENAI_API_KEY}") == 1
        assert providers.count("${OPENAI_API_KEY_2}") == 1

    @pytest.mark.parametrize(
        "setting",
        [
            "fallbacks: [{m: [nowhere]}]",
            "fallbacks: [{nowhere: [m]}]",
            "model_group_alias: {other: nowhere}",
            "provider_budget_config: {nowhere: {budget_limit: 1, time_period: 1d}}",
            "max_budget: 1, budget_duration: 45s",
            "allowed_fails: many",
            "routing_strategy: least-busy",
            "something_new: 1",
        ],
    )
    def test_a_setting_that_cannot_be_kept_is_told(self, setting: str) -> None:
        text = f"{deployment('{model: openai/gpt-4o}')}\nrouter_settings: {{{setting}}}\n"
        assert len(convert(text, "litellm.yaml").notes) == 1

    def test_parameters_that_differ_between_deployments_are_told(self) -> None:
        text = """
model_list:
  - {model_name: a, litellm_params: {model: openai/a, temperature: 0}}
  - {model_name: a, litellm_params: {model: openai/b, temperature: 1}}
"""
        assert "temperature" in convert(text, "litellm.yaml").notes[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("providers: {}", "expected a configuration of LiteLLM"),
        ("- 1", "expected a mapping"),
        ("model_list: [1]", "model_list.0: expected a mapping"),
        ("model_list: [{model_name: a}]", "model_list.0: expected a model_name"),
        ("model_list: [", "not valid YAML"),
        ("model_list: []\nlitellm_settings: [1]", "litellm_settings: expected a mapping"),
    ],
)
def test_what_is_no_configuration_of_litellm_is_refused_at_its_place(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        convert(text, "litellm.yaml")


def test_every_wrong_deployment_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        convert("model_list: [1, {model_name: a}, 2]", "litellm.yaml")
    assert len(caught.value.problems) == 3


def test_text_that_looks_like_a_variable_of_ours_stays_text() -> None:
    text = deployment("{model: openai/a, api_base: 'https://x.test/${A}'}")
    assert "https://x.test/$${A}" in convert(text, "litellm.yaml").files["providers.yaml"]
