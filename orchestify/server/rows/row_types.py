"""What a row's `provider_type` means: the lane, the address, the prefix of LiteLLM's models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from orchestify.core.providers import ProviderConfig
from orchestify.providers.environment import ENV_PROVIDERS


class RowType(NamedTuple):
    """One `provider_type`.

    `type` and `base_url` are the configuration's, `model` is the default model where a row says
    none. All models at a `litellm` provider carry `prefix`: no name that a tenant gives reaches
    another backend. `wants` are the fields a row must have unless it inherits.
    """

    type: str
    model: str | None = None
    base_url: str | None = None
    prefix: str = ""
    wants: tuple[str, ...] = ("api_key",)

    def full(self, model: str) -> str:
        """Return a model's name with the prefix, once."""
        return self.prefix + model.removeprefix(self.prefix)

    def is_same_place(self, config: ProviderConfig) -> bool:
        """Say whether an operator's provider is of this type, and where this type is."""
        if self.prefix:
            model = config.default_model or ""
            return config.type == "litellm" and model.startswith(self.prefix)
        here = self.base_url is None or _plain(self.base_url) == _plain(config.base_url or "")
        return config.type == self.type and here


_KNOWN = {each.name: each for each in ENV_PROVIDERS}


def _openai(name: str) -> RowType:
    known = _KNOWN[name]
    return RowType("openai", known.model, known.values.get("base_url"))


def _plain(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1").lower()


ROW_TYPES: Mapping[str, RowType] = {
    "openai": _openai("openai"),
    "anthropic": RowType("anthropic", _KNOWN["anthropic"].model),
    "google": RowType("litellm", _KNOWN["gemini"].model, prefix="gemini/"),
    "azure": RowType("litellm", prefix="azure/", wants=("api_key", "base_url")),
    "ollama": RowType(
        "litellm",
        "ollama_chat/" + _KNOWN["ollama"].model,
        "http://localhost:11434",
        prefix="ollama_chat/",
        wants=(),
    ),
    "deepseek": _openai("deepseek"),
    "groq": _openai("groq"),
    "mistral": _openai("mistral"),
    "xai": _openai("xai"),
    "openrouter": _openai("openrouter"),
    "together": RowType(
        "openai", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "https://api.together.xyz/v1"
    ),
}
"""By `provider_type`."""


def prefix_of(config: ProviderConfig) -> str | None:
    """Return what every model at a provider begins with: "" where nothing; None: nobody knows.

    None is an operator's `litellm` provider whose default model has no prefix: with one, a model
    would go to another backend.
    """
    if config.type != "litellm" or config.engine == "mock":
        return ""
    prefix, slash, _ = (config.default_model or "").partition("/")
    return f"{prefix}/" if slash else None
