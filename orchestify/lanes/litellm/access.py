"""What a provider's configuration means in LiteLLM's terms: model names, addresses, keys."""

from __future__ import annotations

import re

from orchestify.core.addresses import AddressRule
from orchestify.core.providers import ProviderConfig
from orchestify.lanes.litellm.guard import NO_KEY

# Whose list of models is free, at what address; "" where only a configured one is known.
# Sources: each provider's "List models".
_LISTS = {
    "anthropic": "https://api.anthropic.com",
    "cerebras": "https://api.cerebras.ai/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai",
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "moonshot": "https://api.moonshot.ai/v1",
    "openai": "https://api.openai.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "together_ai": "https://api.together.xyz/v1",
    "xai": "https://api.x.ai/v1",
    "hosted_vllm": "",
    "lm_studio": "",
    "ollama": "http://localhost:11434/v1",
    "ollama_chat": "http://localhost:11434/v1",
}
_NEED_NO_KEY = frozenset({"hosted_vllm", "lm_studio", "ollama", "ollama_chat"})


def litellm_model(model: str, config: ProviderConfig) -> str:
    """Return a model's name with LiteLLM's prefix.

    `openai/` is always put in front of an OpenAI-compatible endpoint's own name, which may begin
    with that too (`openai/gpt-4o` at OpenRouter).
    """
    if config.type == "openai":
        return f"openai/{model}"
    if config.type == "anthropic":
        return "anthropic/" + model.removeprefix("anthropic/")
    return model


def api_base_of(config: ProviderConfig) -> str | None:
    """Return the address, as LiteLLM wants it: OpenAI's with `/v1`, Anthropic's without."""
    if config.base_url is None or config.type == "litellm":
        return config.base_url
    base_url = config.base_url.rstrip("/")
    if config.type == "anthropic":
        return base_url.removesuffix("/v1")
    return base_url if re.match(r"https?://[^/]+/", base_url) else f"{base_url}/v1"


def api_key_of(config: ProviderConfig) -> str | None:
    """Return the key; where LiteLLM would send one from the environment elsewhere, none at all."""
    if config.api_key is not None:
        return config.api_key.get_secret_value()
    return None if config.type == "litellm" else NO_KEY


async def list_models(
    provider_id: str, config: ProviderConfig, rule: AddressRule | None = None
) -> list[str] | None:
    """Return the models that a provider lists for free; None where it does not, or nobody knows.

    LiteLLM's own lists hide a failure and answer with its map instead.

    Raises:
        APIError: the provider could not be asked.
    """
    prefix = _prefix(config)
    address = _LISTS.get(prefix)
    if prefix in _NEED_NO_KEY and config.base_url is not None:
        address = config.base_url.rstrip("/").removesuffix("/v1") + "/v1"
    elif config.base_url is not None:
        address = api_base_of(config) if address is not None else None
    elif config.api_key is None and prefix not in _NEED_NO_KEY:
        return None
    if not address:
        return None
    from orchestify.lanes import direct  # noqa: PLC0415 - brings aiohttp: 80 ms

    asked = config.model_copy(update={"base_url": address})
    kind = direct.AnthropicLane if prefix == "anthropic" else direct.OpenAILane
    lane = kind(provider_id, asked, rule)
    try:
        listed = await lane.list_models()
    finally:
        await lane.aclose()
    if listed is None or config.type != "litellm":
        return listed
    return [f"{prefix}/{name.removeprefix('models/')}" for name in listed]


def _prefix(config: ProviderConfig) -> str:
    if config.type != "litellm":
        return config.type
    return (config.default_model or "").partition("/")[0]
