"""LiteLLM's model map, read as data: prices, context windows, capabilities.

The map is the file `model_prices_and_context_window_backup.json` of the installed litellm
package. It is found without importing litellm and takes about 20 ms and 8 MB to read. Models that
it no longer lists, and that older configurations name, stand with their dates in
`retired_models.json`, in its form and without prices.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from orchestify.errors import ConfigError
from orchestify.resources.bounded import bounded_setdefault
from orchestify.values import NOTHING

Entry: TypeAlias = Mapping[str, Any]

FOUND_KEPT = 10_000  # one map serves a whole process
MAP_FILE = "model_prices_and_context_window_backup.json"

PROVIDER_OF_HOST: Mapping[str, str] = {
    "ai-gateway.vercel.sh": "vercel_ai_gateway",
    "aiplatform.googleapis.com": "vertex_ai",
    "api.anthropic.com": "anthropic",
    "api.cerebras.ai": "cerebras",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.deepinfra.com": "deepinfra",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks_ai",
    "api.groq.com": "groq",
    "api.hyperbolic.xyz": "hyperbolic",
    "api.minimax.io": "minimax",
    "api.mistral.ai": "mistral",
    "api.moonshot.ai": "moonshot",
    "api.novita.ai": "novita",
    "api.openai.com": "openai",
    "api.perplexity.ai": "perplexity",
    "api.sambanova.ai": "sambanova",
    "api.studio.nebius.com": "nebius",
    "api.together.ai": "together_ai",
    "api.together.xyz": "together_ai",
    "api.x.ai": "xai",
    "api.z.ai": "zai",
    "cognitiveservices.azure.com": "azure",
    "dashscope.aliyuncs.com": "dashscope",
    "dashscope-intl.aliyuncs.com": "dashscope",
    "generativelanguage.googleapis.com": "gemini",
    "inference.baseten.co": "baseten",
    "integrate.api.nvidia.com": "nvidia_nim",
    "ollama.com": "ollama",
    "openai.azure.com": "azure",
    "openrouter.ai": "openrouter",
    "services.ai.azure.com": "azure_ai",
}
"""API hosts, and the LiteLLM provider behind each; subdomains belong to their host."""

# Extended thinking came with Claude 3.7. Source: Anthropic, "Building with extended thinking".
_CLAUDE_WITHOUT_THINKING = re.compile(r"claude-(instant|[12]\b|3-(opus|sonnet|haiku)|3-5-)")
# Companies whose entries in LiteLLM's map flag every model that thinks.
_FLAG_THINKING = frozenset({"anthropic", "openai"})
# A snapshot's date, or "-latest"; the name without it is the same model's alias.
_SNAPSHOT = re.compile(r"(?:[-@](?:\d{8}|\d{4}-\d{2}-\d{2})|-latest)$")
_OLLAMA_PORT = 11434
# With these prefixes LiteLLM speaks a protocol, not to a company, once a base_url is given.
_PROTOCOLS = ("openai", "anthropic")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """What the map says of one model.

    A capability (`tools`, `images`, `thinking`, `structured_output`, `sampling`: whether the
    model takes temperature and top_p) is None where the map does not say. It writes both true
    and false, and leaves flags out for models that do have the capability, so an absent flag
    means unknown. `raw` holds the map's own fields, prices among them, in USD a token.
    `assumed` says that the entry was found by the model's name alone, or by the name without
    its date: the model is likely the same, its price may not be.
    """

    name: str
    provider: str
    mode: str | None
    max_input_tokens: int | None
    max_output_tokens: int | None
    tools: bool | None
    images: bool | None
    thinking: bool | None
    structured_output: bool | None
    sampling: bool | None
    adaptive_thinking: bool | None
    deprecated_on: date | None
    assumed: bool = False
    raw: Entry = field(default_factory=dict, repr=False)


class ModelMap:
    """The models LiteLLM knows, by its names for them; `found` are those that were asked for."""

    def __init__(
        self, entries: Mapping[str, Entry], retired: Mapping[str, Entry] = NOTHING
    ) -> None:
        """Take the map's entries, and those of `retired` models that it does not list."""
        listed = {
            name: entry
            for name, entry in entries.items()
            if name != "sample_spec" and "litellm_provider" in entry
        }
        self._retired = frozenset(retired) - listed.keys()
        self._entries = {**retired, **listed}
        self._providers = {
            entry["litellm_provider"].split("-")[0] for entry in self._entries.values()
        }.union(PROVIDER_OF_HOST.values())
        self.found: dict[tuple[str, str | None], ModelEntry | None] = {}

    @staticmethod
    def load() -> ModelMap:
        """Return the installed litellm's map, read from disk at the first call.

        Raises: `ConfigError` when the file is missing or is no JSON object.
        """
        return _load()

    def entry(self, model: str, provider: str | None = None) -> ModelEntry | None:
        """Return what is known of `model` at LiteLLM's `provider`, or None.

        `model` may carry LiteLLM's prefix (`azure/gpt-4o`), which then names the provider.
        Without any provider the name alone decides, and the entry is marked `assumed`; with
        one, another provider's model of that name is never taken.
        """
        key = (model, provider)
        try:
            return self.found[key]
        except KeyError:
            return bounded_setdefault(
                self.found, key, self._entry(model, provider), limit=FOUND_KEPT
            )

    def provider_of(self, type_: str, model: str, base_url: str | None = None) -> str | None:
        """Return LiteLLM's name of the company behind an endpoint, None where nobody knows.

        `type_` is a provider's `type` in the configuration.
        """
        if type_ in _PROTOCOLS:
            return provider_at(base_url) if base_url else type_
        prefix = self._prefix(model)
        if base_url and (prefix is None or prefix in _PROTOCOLS):
            return provider_at(base_url)
        if prefix is None and model in self._entries:
            return str(self._entries[model]["litellm_provider"])
        return prefix

    def models(self, provider: str) -> list[str]:
        """Return the names of a provider's chat models, without its prefix, sorted."""
        return sorted(
            name.removeprefix(f"{provider}/")
            for name, entry in self._entries.items()
            if entry["litellm_provider"] == provider
            and entry.get("mode") == "chat"
            and name not in self._retired
        )

    def _entry(self, model: str, provider: str | None) -> ModelEntry | None:
        at = provider or self._prefix(model)
        name = self._name(model, at)
        if name is not None:
            return _model_entry(name, self._entries[name], assumed=at is None)
        name = self._name(_SNAPSHOT.sub("", model), at)
        return _model_entry(name, self._entries[name], assumed=True) if name else None

    def _name(self, model: str, provider: str | None) -> str | None:
        """The map's own name of the model, None where it has none."""
        if provider is None:
            return model if model in self._entries else None
        bare = model.removeprefix(f"{provider}/").removeprefix("converse/")
        if f"{provider}/{bare}" in self._entries:
            return f"{provider}/{bare}"
        listed = str(self._entries.get(bare, {}).get("litellm_provider"))
        # "vertex_ai-mistral_models", "bedrock_converse" and "cohere_chat" are parts of a provider.
        own = listed == provider or listed.startswith((f"{provider}-", f"{provider}_"))
        return bare if own else None

    def _prefix(self, model: str) -> str | None:
        prefix, slash, _ = model.partition("/")
        return prefix if slash and prefix in self._providers else None


def has_tools(entry: ModelEntry | None) -> bool:
    """Whether a model can call tools; True where nobody knows."""
    return entry is None or entry.tools is not False


def has_thinking(model: str, entry: ModelEntry | None) -> bool:
    """Whether a model has extended thinking; True where nobody knows."""
    if _CLAUDE_WITHOUT_THINKING.search(model):
        return False
    if entry is None:
        return True
    if entry.thinking is None:
        return entry.provider not in _FLAG_THINKING
    return entry.thinking


def provider_at(base_url: str) -> str | None:
    """Return LiteLLM's name of the provider at an address, None where no host is known."""
    address = urlsplit(base_url if "//" in base_url else f"//{base_url}")
    host = (address.hostname or "").lower()
    if address.netloc.endswith(f":{_OLLAMA_PORT}"):
        return "ollama"
    labels = host.split(".")
    parents = (".".join(labels[start:]) for start in range(len(labels)))
    google = "aiplatform.googleapis.com"  # its regions are "us-central1-aiplatform..."
    if host.endswith(f"-{google}"):
        return PROVIDER_OF_HOST[google]
    return next((PROVIDER_OF_HOST[name] for name in parents if name in PROVIDER_OF_HOST), None)


@cache
def _load() -> ModelMap:
    spec = find_spec("litellm")  # finds the package's folder; executes nothing of it
    folders = spec.submodule_search_locations if spec else None
    try:
        text = Path((folders or [""])[0], MAP_FILE).read_text(encoding="utf-8")
        return ModelMap(json.loads(text), retired_models())
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"litellm's {MAP_FILE} cannot be read; reinstall litellm") from error


def retired_models() -> dict[str, Entry]:
    """Return the models that were taken out of service, by LiteLLM's names for them."""
    table = Path(__file__).with_name("retired_models.json").read_text(encoding="utf-8")
    models: dict[str, Entry] = json.loads(table)["models"]
    return {name: models.get(entry.get("same_as", ""), entry) for name, entry in models.items()}


def _model_entry(name: str, entry: Entry, *, assumed: bool) -> ModelEntry:
    return ModelEntry(
        name=name,
        provider=entry["litellm_provider"],
        mode=entry.get("mode"),
        max_input_tokens=_count(entry.get("max_input_tokens")),
        max_output_tokens=_count(entry.get("max_output_tokens")),
        tools=entry.get("supports_function_calling"),
        images=_images(entry),
        thinking=entry.get("supports_reasoning"),
        structured_output=entry.get("supports_response_schema"),
        sampling=entry.get("supports_sampling_params"),
        adaptive_thinking=entry.get("supports_adaptive_thinking"),
        deprecated_on=_date(entry.get("deprecation_date")),
        assumed=assumed,
        raw=entry,
    )


def _images(entry: Entry) -> bool | None:
    flag: bool | None = entry.get("supports_vision")
    modalities = entry.get("supported_modalities")
    return "image" in modalities if flag is None and modalities else flag


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, (int, float)) and value > 0 else None


def _date(value: object) -> date | None:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None
