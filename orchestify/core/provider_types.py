"""Types of providers: the lanes, and companies by name with address, default model and prefix.

One table for `type` in YAML and `provider_type` over REST.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

Lane: TypeAlias = Literal["anthropic", "openai", "litellm"]


class ProviderType(NamedTuple):
    """What a company's name stands for.

    `lane` and `base_url` are the configuration's, `model` is the default model where none is
    written. Every model at a `litellm` company carries `prefix`, so that no name reaches another
    backend. `wants` are the keys that must be written; `max_temperature` is None where the
    company publishes no bound.
    """

    lane: Lane
    model: str | None = None
    base_url: str | None = None
    prefix: str = ""
    wants: tuple[str, ...] = ("api_key",)
    max_temperature: float | None = 2.0

    def full(self, model: str) -> str:
        """Return a model's name with the prefix, once."""
        return self.prefix + model.removeprefix(self.prefix)


_ANTHROPIC = ProviderType("anthropic", "claude-sonnet-4-6", max_temperature=1.0)
_GOOGLE = ProviderType("litellm", "gemini/gemini-2.5-flash", prefix="gemini/")

PROVIDER_TYPES: Mapping[str, ProviderType] = {
    "openai": ProviderType("openai", "gpt-5.1"),
    "anthropic": _ANTHROPIC,
    "claude": _ANTHROPIC,
    "google": _GOOGLE,
    "gemini": _GOOGLE,
    "azure": ProviderType("litellm", prefix="azure/", wants=("api_key", "base_url")),
    "ollama": ProviderType(
        *("litellm", "ollama_chat/llama3", "http://localhost:11434", "ollama_chat/"),
        wants=(),
        max_temperature=None,
    ),
    "deepseek": ProviderType("openai", "deepseek-v4-flash", "https://api.deepseek.com/v1"),
    "groq": ProviderType("openai", "openai/gpt-oss-120b", "https://api.groq.com/openai/v1"),
    "mistral": ProviderType("openai", "mistral-large-latest", "https://api.mistral.ai/v1"),
    "xai": ProviderType("openai", "grok-4.5", "https://api.x.ai/v1"),
    "openrouter": ProviderType(
        "openai", "anthropic/claude-sonnet-4.6", "https://openrouter.ai/api/v1"
    ),
    "together": ProviderType(
        *("openai", "openai/gpt-oss-120b", "https://api.together.xyz/v1"),
        max_temperature=None,
    ),
}
"""By name; a name that is a lane as well (`openai`, `anthropic`) sets no default in YAML."""

TYPES = ("anthropic", "openai", "litellm", "mock", "external")
COMPANIES = {name: kind for name, kind in PROVIDER_TYPES.items() if name not in TYPES}

_AT_HOST = {
    "api.openai.com": PROVIDER_TYPES["openai"],
    "api.anthropic.com": _ANTHROPIC,
    **{urlsplit(kind.base_url).hostname: kind for kind in COMPANIES.values() if kind.base_url},
}
FIXED_HOSTS = frozenset(
    host
    for host in (*_AT_HOST, "generativelanguage.googleapis.com")
    if host is not None and "." in host
)
"""The vendors' own hosts, the same for all their customers; Azure's are not."""

_OWN_HOST = {"openai": "api.openai.com", "anthropic": "api.anthropic.com"}


def max_temperature(lane: str, model: str, base_url: str | None) -> float | None:
    """Return the highest temperature that a company takes, None where nobody knows a bound.

    Servers of one's own (vLLM, Ollama) take any. Sources: the API references of Anthropic
    (0 to 1), OpenAI, Azure, Gemini, DeepSeek, Groq, Mistral, xAI and OpenRouter (at most 2).
    """
    if lane != "litellm":
        host = urlsplit(base_url).hostname if base_url else _OWN_HOST.get(lane)
        kind = _AT_HOST.get(host)
    else:
        name = model.partition("/")[0]
        is_elsewhere = base_url is not None and name != "azure"
        kind = None if is_elsewhere else PROVIDER_TYPES.get(name)
    return kind.max_temperature if kind else None
