"""What a LiteLLM provider may do whose configuration strangers wrote.

What is not given LiteLLM looks for in the environment: addresses, keys, logins. So only backends
whose ways are known are allowed, everything is given, and our transport checks each request.
LiteLLM is never told the real address but one that leads nowhere: what does not pass through our
transport, whatever a release does with the client it is given, does not leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from orchestify.core.addresses import HTTP_PORTS, AddressRule, not_allowed
from orchestify.core.providers import ProviderConfig
from orchestify.errors import (
    ConfigError,
    EndpointRefusedError,
    InvalidParameterError,
    ModelNotFoundError,
)
from orchestify.values import CompletionRequest, ImagePart

NO_KEY = "none"
UNREACHABLE = "https://orchestify.invalid"  # no name under .invalid leads anywhere: RFC 6761

# The backends, and where each is unless a base_url says so; Azure's address is its customer's.
BACKENDS: Mapping[str, str] = {
    "azure": "",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
    "ollama_chat": "http://localhost:11434",
}
# The vendors' own hosts, which their names lead to and nowhere else.
_OWN_HOSTS: Mapping[str, tuple[str, ...]] = {
    "azure": ("openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com"),
    "gemini": ("generativelanguage.googleapis.com",),
}
# Fields of the body. LiteLLM's own options are none: they name hosts, keys and files.
OPTIONS = frozenset(
    {"api_version", "frequency_penalty", "logit_bias", "logprobs", "modalities", "n"}
    | {"parallel_tool_calls", "prediction", "presence_penalty", "reasoning_effort", "seed"}
    | {"service_tier", "stop", "temperature", "top_logprobs", "top_p", "user", "verbosity"}
    | {"keep_alive", "min_p", "num_ctx", "num_predict", "repeat_penalty", "safety_settings"}
    | {"max_completion_tokens", "max_tokens", "prompt_cache_key", "safety_identifier", "top_k"}
    | {"repetition_penalty", "think"}
)
"""The options that a configuration or a call of strangers may hold."""

_UNREACHABLE_PARTS = ("https", b"orchestify.invalid", None)
_KEY_HEADERS = ("authorization", "api-key", "x-api-key", "x-goog-api-key")


@dataclass(frozen=True, slots=True)
class LiteLLMGuard:
    """The bounds of one provider: its backend, where that is and with which key."""

    backend: str
    api_base: str
    key: str = field(repr=False)

    @classmethod
    def of(cls, provider_id: str, config: ProviderConfig, rule: AddressRule) -> LiteLLMGuard:
        """Return the bounds of a configuration.

        Raises:
            ConfigError: its backend is not one of `BACKENDS`, its address is not allowed, or an
                option is no field of a body.
        """
        backend = (config.default_model or "").partition("/")[0]
        if config.type != "litellm" or backend not in BACKENDS:
            known = ", ".join(f"{each}/" for each in BACKENDS)
            raise ConfigError(f"providers.{provider_id}.default_model: begins with one of {known}")
        foreign = _foreign(config.options)
        if foreign:
            raise ConfigError(f"providers.{provider_id}.options: {foreign} cannot be set here")
        problem = litellm_problem(config, rule)
        if problem is not None:
            raise ConfigError(f"providers.{provider_id}.base_url: {problem}")
        key = NO_KEY if config.api_key is None else config.api_key.get_secret_value()
        return cls(backend, config.base_url or BACKENDS[backend], key)

    def check(self, request: CompletionRequest) -> None:
        """Refuse a request that would leave the bounds.

        Raises:
            ModelNotFoundError: the model is another backend's.
            InvalidParameterError: an option is no field of a body, or LiteLLM would fetch an image.
        """
        if not request.model.startswith(f"{self.backend}/"):
            raise ModelNotFoundError(f"no such model here; they begin with {self.backend}/")
        foreign = _foreign(request.options)
        if foreign:
            raise InvalidParameterError(f"options: {foreign} cannot be set here")
        refuse_to_fetch(request, request.model)

    @property
    def base_for_litellm(self) -> str:
        """The address that LiteLLM is given: the real one's path, at a host that is none."""
        return UNREACHABLE + urlsplit(self.api_base).path.rstrip("/")

    @property
    def headers(self) -> dict[str, str]:
        """The headers to add: Azure's key, whose place a login of the environment would take."""
        return {"api-key": self.key} if self.backend == "azure" else {}

    def directed(self, request: Any) -> str:
        """Return the real URL of an HTTP request; another's credentials are taken from it.

        Raises:
            EndpointRefusedError: it goes elsewhere than LiteLLM was told to.
        """
        url = request.url
        if (url.scheme, url.raw_host, url.port) != _UNREACHABLE_PARTS:
            raise EndpointRefusedError("the request was about to leave for another host")
        for name in _KEY_HEADERS:
            if request.headers.get(name, self.key) not in {self.key, f"Bearer {self.key}"}:
                del request.headers[name]
        parts = urlsplit(self.api_base)
        return f"{parts.scheme}://{parts.netloc}{url.raw_path.decode()}"


def refuse_to_fetch(request: CompletionRequest, model: str) -> None:
    """Refuse an image that LiteLLM would fetch for a model, by its LiteLLM name.

    Azure fetches images itself; for others LiteLLM does, from wherever the caller says.

    Raises:
        InvalidParameterError: there is one.
    """
    if not model.startswith("azure/") and any(map(_is_fetched, _images(request))):
        raise InvalidParameterError("an image is fetched for no one here; give its bytes")


def litellm_problem(config: ProviderConfig, rule: AddressRule) -> str | None:
    """Say why the address of a LiteLLM provider is not allowed, or None.

    The host must be the operator's, the vendor's own, or this machine where `rule.loopback` says
    so: LiteLLM's translation for a backend is meant for no other.
    """
    backend = (config.default_model or "").partition("/")[0]
    base_url = config.base_url or BACKENDS.get(backend)
    if not base_url:
        return "missing; the address of your own resource"
    wrong = rule.problem(base_url)
    if wrong is not None:
        return wrong
    scheme, host, port = _place(base_url)
    is_own = scheme == "https" and any(
        f".{host}".endswith(f".{each}") for each in _OWN_HOSTS.get(backend, ())
    )
    return None if is_own or rule.trusts(host, port) else not_allowed(urlsplit(base_url).netloc)


def _place(url: str) -> tuple[str, str, int]:
    """Return the scheme, host and port of an address."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    return parts.scheme, host, parts.port or HTTP_PORTS[parts.scheme]


def _foreign(options: Mapping[str, Any]) -> str:
    return ", ".join(sorted(set(options) - OPTIONS))


def _images(request: CompletionRequest) -> Iterable[ImagePart]:
    for message in request.messages:
        if not isinstance(message.content, str):
            yield from (part for part in message.content if isinstance(part, ImagePart))


def _is_fetched(image: ImagePart) -> bool:
    return bool(image.url) and not image.data_url.startswith("data:")
