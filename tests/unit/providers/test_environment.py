"""A registry with no file: every variable that is looked for."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from pydantic import SecretStr

from orchestify.core.providers import ProviderConfig
from orchestify.errors import ConfigError
from orchestify.providers.environment import (
    config_from_env,
    document_from_env,
    keys_from_env,
    missing_from_env,
)
from orchestify.providers.registry import ProviderRegistry

TODAY = date(2026, 11, 29)
AZURE = {
    "AZURE_OPENAI_API_KEY": "key-of-azure",
    "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com",
    "AZURE_OPENAI_DEPLOYMENT": "gpt-4o-mine",
}


def only(environ: dict[str, str]) -> tuple[str, ProviderConfig]:
    """The one provider that an environment holds."""
    ((name, config),) = config_from_env(environ, TODAY).providers.providers.items()
    return name, config


@pytest.mark.parametrize(
    ("variable", "name", "kind", "model", "base_url"),
    [
        ("OPENAI_API_KEY", "openai", "openai", "gpt-5.1", None),
        ("ANTHROPIC_API_KEY", "anthropic", "anthropic", "claude-sonnet-4-6", None),
        (
            "DEEPSEEK_API_KEY",
            "deepseek",
            "openai",
            "deepseek-v4-flash",
            "https://api.deepseek.com/v1",
        ),
        ("XAI_API_KEY", "xai", "openai", "grok-4.5", "https://api.x.ai/v1"),
        ("GROK_API_KEY", "xai", "openai", "grok-4.5", "https://api.x.ai/v1"),
        pytest.param(
            *("GEMINI_API_KEY", "gemini", "litellm", "gemini/gemini-2.5-flash", None),
            marks=pytest.mark.data_of("litellm"),
        ),
        pytest.param(
            *("GOOGLE_API_KEY", "gemini", "litellm", "gemini/gemini-2.5-flash", None),
            marks=pytest.mark.data_of("litellm"),
        ),
        (
            "GROQ_API_KEY",
            "groq",
            "openai",
            "openai/gpt-oss-120b",
            "https://api.groq.com/openai/v1",
        ),
        (
            "MISTRAL_API_KEY",
            "mistral",
            "openai",
            "mistral-large-latest",
            "https://api.mistral.ai/v1",
        ),
        (
            "OPENROUTER_API_KEY",
            "openrouter",
            "openai",
            "anthropic/claude-sonnet-4.6",
            "https://openrouter.ai/api/v1",
        ),
    ],
)
def test_a_key_is_a_provider(
    variable: str, name: str, kind: str, model: str, base_url: str | None
) -> None:
    found, config = only({variable: "the-key"})
    assert (found, config.type, config.default_model) == (name, kind, model)
    assert config.base_url == base_url
    assert config.api_key is not None
    assert config.api_key.get_secret_value() == "the-key"


@pytest.mark.data_of("litellm")
@pytest.mark.parametrize(
    ("today", "model"),
    [
        (date(2027, 1, 30), "gpt-5.1"),
        (date(2027, 1, 31), "gpt-5.4"),  # gpt-5.1 ends on 2027-04-01, in 60 days
        (date(2027, 4, 2), "gpt-5.4"),
    ],
)
def test_a_model_that_is_about_to_end_gives_way_to_the_next(today: date, model: str) -> None:
    document = document_from_env({"OPENAI_API_KEY": "k"}, today)
    assert document["providers"]["openai"]["default_model"] == model


def test_a_model_of_the_environments_own_is_taken_whenever_it_ends() -> None:
    environ = {"OPENAI_API_KEY": "k", "DEFAULT_OPENAI_MODEL": "gpt-5.1"}
    document = document_from_env(environ, date(2027, 4, 2))
    assert document["providers"]["openai"]["default_model"] == "${DEFAULT_OPENAI_MODEL}"


@pytest.mark.parametrize("suffix", ["URL", "BASE_URL", "API_BASE"])
@pytest.mark.parametrize(
    ("name", "model"), [("ollama", "llama3"), ("vllm", "default"), ("localai", "gpt-4")]
)
def test_an_address_is_a_local_provider_that_is_free(name: str, model: str, suffix: str) -> None:
    found, config = only({f"{name.upper()}_{suffix}": "http://localhost:8080"})
    assert (found, config.type, config.default_model) == (name, "openai", model)
    assert config.base_url == "http://localhost:8080"
    assert config.api_key is None
    registry = ProviderRegistry.from_env({f"{name.upper()}_{suffix}": "http://localhost:8080"})
    assert registry.calculate_cost(name, model, 10**6, 10**6) == Decimal(0)


def test_azure_needs_its_endpoint_and_its_deployment() -> None:
    name, config = only(AZURE)
    assert (name, config.type, config.default_model) == ("azure", "litellm", "azure/gpt-4o-mine")
    assert config.base_url == "https://mine.openai.azure.com"
    assert config.options == {}


def test_azure_takes_its_api_version() -> None:
    _, config = only({**AZURE, "AZURE_OPENAI_API_VERSION": "2024-10-21"})
    assert config.options == {"api_version": "2024-10-21"}


@pytest.mark.parametrize("missing", list(AZURE))
def test_azure_is_not_there_with_less(missing: str) -> None:
    environ = {name: value for name, value in AZURE.items() if name != missing}
    assert document_from_env(environ, TODAY) == {"providers": {}}


def test_openais_organisation_is_a_header() -> None:
    _, config = only({"OPENAI_API_KEY": "k", "OPENAI_ORG_ID": "org-1"})
    assert config.headers["OpenAI-Organization"].get_secret_value() == "org-1"


@pytest.mark.parametrize(
    ("key", "variable"),
    [
        ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
        ("OPENAI_API_KEY", "OPENAI_API_BASE"),
        ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
        ("ANTHROPIC_API_KEY", "ANTHROPIC_API_BASE"),
        ("DEEPSEEK_API_KEY", "DEEPSEEK_BASE_URL"),
        ("XAI_API_KEY", "XAI_BASE_URL"),
        ("XAI_API_KEY", "GROK_BASE_URL"),
        ("GROK_API_KEY", "GROK_BASE_URL"),
        ("GROK_API_KEY", "XAI_BASE_URL"),
        ("GEMINI_API_KEY", "GEMINI_BASE_URL"),
        ("GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL"),
        ("GOOGLE_API_KEY", "GOOGLE_BASE_URL"),
        ("GROQ_API_KEY", "GROQ_BASE_URL"),
        ("MISTRAL_API_KEY", "MISTRAL_BASE_URL"),
        ("OPENROUTER_API_KEY", "OPENROUTER_BASE_URL"),
        ("OPENROUTER_API_KEY", "OPENROUTER_API_BASE"),
    ],
)
def test_an_address_of_the_environment_takes_the_vendors_place(key: str, variable: str) -> None:
    _, config = only({key: "k", variable: "https://proxy.example/v1"})
    assert config.base_url == "https://proxy.example/v1"


def test_the_first_address_counts_and_one_that_is_empty_is_none() -> None:
    environ = {"XAI_API_KEY": "k", "XAI_BASE_URL": "", "GROK_BASE_URL": "https://grok.example"}
    assert only(environ)[1].base_url == "https://grok.example"
    environ["XAI_BASE_URL"] = "https://xai.example"
    assert only(environ)[1].base_url == "https://xai.example"


def test_no_key_goes_in_clear_to_an_address_that_others_can_read() -> None:
    environ = {"DEEPSEEK_API_KEY": "my-secret", "DEEPSEEK_BASE_URL": "http://proxy.example/v1"}
    with pytest.raises(ConfigError, match=r"providers\.deepseek\.base_url") as caught:
        ProviderRegistry.from_env(environ)
    assert "my-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "variable", "given", "model"),
    [
        ("OPENAI_API_KEY", "DEFAULT_OPENAI_MODEL", "gpt-4o", "gpt-4o"),
        ("ANTHROPIC_API_KEY", "DEFAULT_ANTHROPIC_MODEL", "claude-opus-4-6", "claude-opus-4-6"),
        ("GEMINI_API_KEY", "DEFAULT_GOOGLE_MODEL", "gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("GEMINI_API_KEY", "DEFAULT_GEMINI_MODEL", "gemini/gemini-x", "gemini/gemini-x"),
        ("DEEPSEEK_API_KEY", "DEFAULT_DEEPSEEK_MODEL", "deepseek-r", "deepseek-r"),
        ("XAI_API_KEY", "DEFAULT_XAI_MODEL", "grok-5", "grok-5"),
        ("GROK_API_KEY", "DEFAULT_GROK_MODEL", "grok-5", "grok-5"),
        ("GROQ_API_KEY", "DEFAULT_GROQ_MODEL", "x", "x"),
        ("MISTRAL_API_KEY", "DEFAULT_MISTRAL_MODEL", "x", "x"),
        ("OPENROUTER_API_KEY", "DEFAULT_OPENROUTER_MODEL", "a/b", "a/b"),
        ("OLLAMA_URL", "DEFAULT_OLLAMA_MODEL", "qwen3", "qwen3"),
        ("VLLM_URL", "DEFAULT_VLLM_MODEL", "x", "x"),
        ("LOCALAI_URL", "DEFAULT_LOCALAI_MODEL", "x", "x"),
    ],
)
def test_the_default_model_may_be_another(key: str, variable: str, given: str, model: str) -> None:
    _, config = only({key: "http://localhost:1", variable: given})
    assert config.default_model == model


def test_limits_are_every_providers() -> None:
    registry = ProviderRegistry.from_env(
        {
            "OPENAI_API_KEY": "k",
            "DEEPSEEK_API_KEY": "k",
            "LLM_RATE_LIMIT_PER_MINUTE": "60",
            "LLM_RATE_LIMIT_PER_DAY": "1000",
        }
    )
    target = registry._lookup.target("deepseek")
    assert [(each.requests_per_minute, each.requests_per_day) for each in target.limiters] == [
        (60, 1000)
    ]


def test_the_days_cost_is_an_alert_that_refuses_nothing() -> None:
    registry = ProviderRegistry.from_env(
        {"OPENAI_API_KEY": "k", "LLM_DAILY_COST_ALERT_THRESHOLD": "12.5"}
    )
    (budget,) = registry._runtime.budgets
    assert (budget.limit_usd, budget.period, budget.mode) == (Decimal("12.5"), "day", "warn")


def test_what_is_set_to_nothing_is_not_set() -> None:
    environ = {"OPENAI_API_KEY": "", "OLLAMA_URL": "", "LLM_RATE_LIMIT_PER_MINUTE": ""}
    assert document_from_env(environ, TODAY) == {"providers": {}}


def test_an_empty_environment_is_an_empty_registry() -> None:
    assert ProviderRegistry.from_env({}).list_providers() == []


def test_the_document_holds_names_and_no_values() -> None:
    document = document_from_env({**AZURE, "OPENAI_API_KEY": "key-of-openai"}, TODAY)
    assert "key-of-" not in str(document)
    assert document["providers"]["openai"]["api_key"] == "${OPENAI_API_KEY}"


def test_a_value_cannot_change_the_document() -> None:
    _, config = only({"OPENAI_API_KEY": '"}, "evil": {"type": "mock"}, "x": "${HOME}'})
    assert config.api_key is not None
    assert config.api_key.get_secret_value() == '"}, "evil": {"type": "mock"}, "x": "${HOME}'


@pytest.mark.parametrize(
    "environ",
    [
        {"LLM_RATE_LIMIT_PER_MINUTE": "my-secret"},
        {"OPENAI_API_KEY": "k", "LLM_DAILY_COST_ALERT_THRESHOLD": "my-secret"},
        {"OLLAMA_URL": "my-secret://x"},
    ],
)
def test_a_value_that_cannot_be_used_is_named_and_not_shown(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        ProviderRegistry.from_env(environ)
    assert "my-secret" not in str(caught.value)
    assert "<environment>" in str(caught.value)


def test_keys_are_found_with_their_variables() -> None:
    environ = {
        **AZURE,
        "GEMINI_API_KEY": "key-of-gemini",
        "GOOGLE_API_KEY": "key-of-google",
        "OPENAI_API_KEY": "",
        "OLLAMA_URL": "http://localhost:11434/v1",
    }
    assert keys_from_env(environ) == {
        "azure": ("AZURE_OPENAI_API_KEY", SecretStr("key-of-azure")),
        "gemini": ("GEMINI_API_KEY", SecretStr("key-of-gemini")),
    }


def test_what_a_provider_still_lacks_is_named() -> None:
    part = {"AZURE_OPENAI_API_KEY": "key-of-azure", "OPENAI_API_KEY": "key-of-openai"}
    assert missing_from_env(part) == {"azure": ["AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_DEPLOYMENT"]}
    assert missing_from_env(AZURE) == {}
    assert missing_from_env({}) == {}
