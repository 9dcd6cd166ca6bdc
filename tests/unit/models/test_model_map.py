from __future__ import annotations

import subprocess
import sys
from datetime import date

import pytest

from orchestify.models.model_map import ModelMap, provider_at, retired_models

MAP = ModelMap(
    {
        "sample_spec": {"litellm_provider": "one of https://docs.litellm.ai/docs/providers"},
        "gpt-4o": {
            "litellm_provider": "openai",
            "mode": "chat",
            "max_input_tokens": 128_000,
            "max_output_tokens": 16_384,
            "supports_function_calling": True,
            "supports_vision": False,
            "deprecation_date": "2027-01-14",
        },
        "azure/gpt-4o": {"litellm_provider": "azure", "max_input_tokens": 100_000},
        "claude-sonnet-4-5": {"litellm_provider": "anthropic", "supports_sampling_params": False},
        "amazon.titan-text": {"litellm_provider": "bedrock"},
        "us.anthropic.claude-sonnet-4-5": {"litellm_provider": "bedrock_converse"},
        "groq/openai/gpt-oss-20b": {"litellm_provider": "groq"},
        "ollama/llama3": {"litellm_provider": "ollama"},
        "vertex_ai/gemini-x": {
            "litellm_provider": "vertex_ai-language-models",
            "supported_modalities": ["text", "image"],
        },
    }
)


@pytest.mark.parametrize(
    ("model", "provider", "name"),
    [
        ("gpt-4o", "openai", "gpt-4o"),
        ("openai/gpt-4o", None, "gpt-4o"),
        ("gpt-4o", "azure", "azure/gpt-4o"),
        ("azure/gpt-4o", None, "azure/gpt-4o"),
        ("azure/gpt-4o", "azure", "azure/gpt-4o"),
        ("anthropic/claude-sonnet-4-5", None, "claude-sonnet-4-5"),
        ("openai/gpt-oss-20b", "groq", "groq/openai/gpt-oss-20b"),
        ("bedrock/us.anthropic.claude-sonnet-4-5", None, "us.anthropic.claude-sonnet-4-5"),
        ("bedrock/converse/us.anthropic.claude-sonnet-4-5", None, "us.anthropic.claude-sonnet-4-5"),
        ("gemini-x", "vertex_ai", "vertex_ai/gemini-x"),
    ],
)
def test_a_model_is_found_under_its_providers_name_for_it(
    model: str, provider: str | None, name: str
):
    found = MAP.entry(model, provider)
    assert found is not None
    assert (found.name, found.assumed) == (name, False)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", None),
        ("gpt-4o-2024-11-20", "openai"),
        ("claude-sonnet-4-5-20250929", "anthropic"),
        ("claude-sonnet-4-5@20250929", "anthropic"),
        ("claude-sonnet-4-5-latest", "anthropic"),
    ],
)
def test_a_model_found_by_name_alone_or_without_its_date_is_assumed(
    model: str, provider: str | None
):
    found = MAP.entry(model, provider)
    assert found is not None
    assert found.assumed


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", "groq"),
        ("groq/gpt-4o", None),
        ("openrouter/gpt-4o", None),
        ("llama3", None),
        ("gpt-4", "openai"),
        ("sample_spec", None),
        ("", None),
    ],
)
def test_another_providers_model_of_the_name_is_never_taken(model: str, provider: str | None):
    assert MAP.entry(model, provider) is None


def test_an_entry_holds_context_mode_and_deprecation():
    found = MAP.entry("gpt-4o", "openai")
    assert found is not None
    assert (found.max_input_tokens, found.max_output_tokens) == (128_000, 16_384)
    assert (found.mode, found.deprecated_on) == ("chat", date(2027, 1, 14))


def test_a_flag_that_is_absent_is_unknown_and_not_false():
    found = MAP.entry("gpt-4o", "openai")
    assert found is not None
    assert (found.tools, found.images, found.thinking) == (True, False, None)


def test_images_are_known_from_the_modalities_where_the_flag_is_absent():
    found = MAP.entry("gemini-x", "vertex_ai")
    assert found is not None
    assert found.images is True


def test_models_that_refuse_sampling_say_so():
    found = MAP.entry("claude-sonnet-4-5", "anthropic")
    assert found is not None
    assert found.sampling is False


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://api.x.ai/v1", "xai"),
        ("api.deepseek.com", "deepseek"),
        ("https://myorg.openai.azure.com", "azure"),
        ("https://us-central1-aiplatform.googleapis.com/v1", "vertex_ai"),
        ("http://localhost:11434/v1", "ollama"),
        ("http://127.0.0.1:8000/v1", None),
        ("https://api.groq.com.example.org/v1", None),
        ("https://notopenrouter.ai/v1", None),
        ("", None),
    ],
)
def test_a_provider_is_known_by_its_host(base_url: str, provider: str | None):
    assert provider_at(base_url) == provider


@pytest.mark.parametrize(
    ("type_", "model", "base_url", "provider"),
    [
        ("anthropic", "claude-sonnet-4-5", None, "anthropic"),
        ("anthropic", "claude-sonnet-4-5", "https://gateway.example.org", None),
        ("openai", "gpt-4o", None, "openai"),
        ("openai", "llama3", "https://api.groq.com/openai/v1", "groq"),
        ("litellm", "azure/gpt-4o", "https://gateway.example.org", "azure"),
        ("litellm", "openai/gpt-4o", "https://gateway.example.org", None),
        ("litellm", "ollama/llama3", "http://10.0.0.1:80", "ollama"),
        ("litellm", "gpt-4o", None, "openai"),
        ("litellm", "a-name-nobody-knows", None, None),
    ],
)
def test_the_company_behind_an_endpoint_is_known_or_none(
    type_: str, model: str, base_url: str | None, provider: str | None
):
    assert MAP.provider_of(type_, model, base_url) == provider


def test_the_installed_map_is_read_once():
    assert ModelMap.load() is ModelMap.load()


@pytest.mark.data_of("litellm")
def test_the_installed_map_knows_gpt_4o():
    found = ModelMap.load().entry("gpt-4o", "openai")
    assert found is not None
    assert (found.max_input_tokens, found.tools, found.images) == (128_000, True, True)


def test_reading_the_map_does_not_import_litellm():
    code = (
        "import sys; from orchestify.models.model_map import ModelMap; ModelMap.load();"
        "print('litellm' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert ran.stdout.strip() == "False"


RETIRED = {
    "old-1": {"litellm_provider": "xai", "mode": "chat", "max_input_tokens": 8192},
    "gpt-4o": {"litellm_provider": "xai", "mode": "chat"},
}


def test_a_retired_model_is_known_and_not_listed():
    entry = {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 128000}
    models = ModelMap({"gpt-4o": entry}, RETIRED)
    old = models.entry("old-1", "xai")
    assert old is not None
    assert old.max_input_tokens == 8192
    assert models.models("xai") == []


def test_what_the_map_lists_goes_before_the_retired():
    entry = {"litellm_provider": "openai", "mode": "chat"}
    models = ModelMap({"gpt-4o": entry}, RETIRED)
    assert models.entry("gpt-4o", "xai") is None
    assert models.models("openai") == ["gpt-4o"]


@pytest.mark.parametrize("name", sorted(retired_models()))
def test_every_retired_model_is_told_with_its_company_and_size(name):
    told = retired_models()[name]
    assert told["litellm_provider"] in {"anthropic", "xai"}
    assert told["max_input_tokens"] >= 8192
    assert not [field for field in told if "cost" in field]


@pytest.mark.parametrize(
    ("model", "provider", "window", "ends_on"),
    [
        ("grok-beta", "xai", 131_072, None),
        ("claude-3-opus-20240229", "anthropic", 200_000, date(2026, 1, 5)),
        ("claude-3-haiku", "anthropic", 200_000, date(2026, 4, 20)),
        ("claude-3-5-haiku-latest", "anthropic", 200_000, date(2026, 2, 19)),
    ],
)
def test_models_of_older_configurations_are_known(model, provider, window, ends_on):
    found = ModelMap.load().entry(model, provider)
    assert (found.max_input_tokens, found.deprecated_on) == (window, ends_on)
