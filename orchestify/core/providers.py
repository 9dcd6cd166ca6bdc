"""Models of a provider's configuration: `ProviderConfig` and its prices."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    Tag,
    ValidationInfo,
    field_serializer,
    model_validator,
)

from orchestify.core.addresses import address_problem, exposure
from orchestify.core.error_messages import refusal, refuse
from orchestify.core.fields import (
    Count,
    Flag,
    FreeForm,
    HeaderText,
    Key,
    LabelAxis,
    Model,
    Seconds,
    Text,
    Usd,
    mask,
)
from orchestify.core.policies import Policies, Settings
from orchestify.core.problems import KeyPath, did_you_mean
from orchestify.core.provider_types import COMPANIES, TYPES, ProviderType, max_temperature
from orchestify.core.scalars import reread
from orchestify.core.substitution import VaultKeys, substitute
from orchestify.core.variables import Variables

PLAIN_HTTP = "a key would go over plain http to a public host; use https, or set allow_http: true"

_ANTHROPICS = "api.anthropic.com"
_OF_OTHERS = re.compile(  # how other companies' models begin, with or without a prefix of LiteLLM's
    r"(?:\w+/)*(?:chatgpt|codestral|command|deepseek|gemini|gpt|grok|kimi|llama|mi[sx]tral|o\d|qwen)"
)
_NEED_NO_MODEL = frozenset({"mock", "external"})
_DIRECT_TYPES = frozenset({"anthropic", "openai"})
_OUR_FIELDS = frozenset(
    {"api_base", "api_key", "base_url", "caching", "fallbacks", "max_retries", "messages", "model"}
    | {"num_retries", "stream"}
)
_KEY_HEADERS = ("authorization", "cookie", "key", "token")


@dataclass(frozen=True, slots=True)
class AlreadySubstituted:
    """Validation context: variables and the vault's key were filled in before.

    `unset` names those that are not there. The values are data: a variable or a `vault:NAME` in
    them refers to nothing.
    """

    unset: tuple[str, ...] = ()


class PriceConfig(Model):
    """What a model costs; an explicit zero is free, what is not written is not charged."""

    input_usd_per_mtok: Usd | None = Field(default=None, description="A million tokens of input")
    output_usd_per_mtok: Usd | None = Field(default=None, description="A million tokens of output")
    cache_read_usd_per_mtok: Usd | None = Field(
        default=None, description="Of input that was read from a cache"
    )
    cache_write_usd_per_mtok: Usd | None = Field(
        default=None, description="Of input that was cached for 5 minutes"
    )
    cache_write_1h_usd_per_mtok: Usd | None = Field(
        default=None, description="Of input that was cached for an hour"
    )
    request_usd: Usd | None = Field(default=None, description="A request, beside its tokens")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            refuse([((), "expected at least one price")])
        return self


Spread: TypeAlias = Literal["sticky", "least_used", "fill_first"]


def _price_form(value: object) -> str | None:
    if isinstance(value, PriceConfig):
        return "(one)"
    if not isinstance(value, Mapping):
        return None
    nested = any(isinstance(inner, (Mapping, PriceConfig)) for inner in value.values())
    return "(by model)" if nested else "(one)"


PriceSetting: TypeAlias = Annotated[
    Annotated[PriceConfig, Tag("(one)")] | Annotated[dict[str, PriceConfig], Tag("(by model)")],
    Discriminator(_price_form, **refusal("expected prices, or prices by model")),
]


class AnswerBounds(Model):
    """What one answer may have at most; what has more is an `InvalidResponseError`.

    The defaults are those of every lane, but LiteLLM's takes 512 calls of tools. JSON objects are
    counted with arrays, in one body or one event of a stream; none has more members than that.
    """

    max_bytes: Count = Field(
        default=64 << 20, description="After decompression, counted as they come"
    )
    max_tool_calls: Count = Field(
        default=4_096, description="Calls of tools; 512 by default through LiteLLM"
    )
    max_json_objects: Count = Field(
        default=1_000_000,
        description="JSON objects and arrays in a body, or in a stream's event; members of each",
    )
    max_header_bytes: Count = Field(default=64 << 10, description="Of one response header")


def _enabled(value: object) -> object:
    value = reread(value)
    if not isinstance(value, bool) and value != "auto":
        raise ValueError("expected true, false or auto")
    return value


Enabled: TypeAlias = Annotated[
    bool | Literal["auto"],
    BeforeValidator(_enabled, json_schema_input_type=bool | Literal["auto"]),
]


def _known_type(value: object) -> object:
    if isinstance(value, str) and value not in TYPES:
        hint = did_you_mean(value, (*TYPES, *COMPANIES))
        raise ValueError(f"expected one of {', '.join((*TYPES, *COMPANIES))}{hint}")
    return value


ProviderLane: TypeAlias = Annotated[
    Literal["anthropic", "openai", "litellm", "mock", "external"],
    BeforeValidator(_known_type),
    Field(json_schema_extra={"enum": [*TYPES, *COMPANIES]}),
]


class ProviderConfig(Policies):
    """One provider.

    A company's name as `type` (`groq`, `gemini`) stands for its lane, address and default model;
    `type` then holds the lane, and `company` what the name stands for.

    Built in code, it fills in its own variables, from `os.environ`, and an `api_key` that is
    `vault:NAME`. Keys never show: neither in repr nor in dumps.
    """

    type: ProviderLane = Field(description="A lane, or a company by its name")
    engine: Literal["direct", "litellm", "mock"] | None = Field(
        default=None, description="The lane, where it is not the type's own"
    )
    api_key: Key | None = Field(
        default=None, description="As ${NAME} from a variable, as vault:NAME from the vault"
    )
    api_keys: tuple[Key, ...] = Field(
        default=(), description="Several keys in place of one; each rests alone at its limit"
    )
    spread: Spread = Field(default="sticky", description="Which of api_keys a call goes out with")
    sticky_by: LabelAxis | None = Field(
        default=None,
        description="label:NAME: what tells conversations apart; unwritten: how they begin",
    )
    default_model: Text | None = Field(
        default=None, description="The model of calls that name none; mock and external need none"
    )
    api: Literal["chat", "responses", "auto"] | None = Field(
        default=None,
        description="openai: Chat Completions (the default), Responses, or auto: Responses for "
        "models that have only these",
    )
    max_tokens: Count | None = Field(default=None, description="A default, no cap")
    base_url: Text | None = Field(
        default=None, description="openai: with /v1; anthropic: without; the other is tolerated"
    )
    enabled: Enabled = Field(default=True, description="auto: on where its variables are set")
    options: FreeForm = Field(
        default_factory=dict, repr=False, description="Body fields, passed on as they are"
    )
    headers: dict[str, HeaderText] = Field(
        default_factory=dict, description="Sent with every request"
    )
    price: PriceSetting | None = Field(default=None, description="One for all models, or by model")
    answer_bounds: AnswerBounds = Field(
        default_factory=AnswerBounds, description="What one answer may have at most"
    )
    allow_http: Flag = Field(default=False, description="Send a key over plain http")
    health_check_interval_s: Seconds | None = Field(
        default=None, description="Between the checks of a monitor, for this provider"
    )

    _unset: tuple[str, ...] = PrivateAttr(default=())
    _company: str = PrivateAttr(default="")

    @property
    def company(self) -> ProviderType | None:
        """What the company's name stands for that was written as `type`; None: a lane was."""
        return COMPANIES.get(self._company)

    def full_model(self, model: str) -> str:
        """Return a model's name as its lane takes it: with the prefix of the company, once."""
        return self.company.full(model) if self.company else model

    def max_temperature(self, model: str) -> float | None:
        """Return the highest temperature that the provider takes, None where nobody knows."""
        if self.engine == "mock":
            return None
        return max_temperature(self.type, model, self.base_url)

    def model_problem(self, model: str) -> str | None:
        """Say that a model is another company's where Anthropic is asked, else None."""
        host = urlsplit(self.base_url).hostname if self.base_url else _ANTHROPICS
        if self.type != "anthropic" or self.engine == "mock" or host != _ANTHROPICS:
            return None
        if not _OF_OTHERS.match(model):
            return None
        return "no model of Anthropic's, where it goes: their names begin with claude-"

    @property
    def off_reason(self) -> str | None:
        """Why the provider is off, in words that hold names of variables only; None: it is on."""
        if self.enabled is False:
            return "enabled: false"
        if self.enabled == "auto" and self._unset:
            return not_set(self._unset)
        return None

    @property
    def is_enabled(self) -> bool:
        """Whether the provider is on."""
        return self.off_reason is None

    @property
    def keys(self) -> tuple[SecretStr, ...]:
        """The keys that requests go out with, one each: `api_keys`, or `api_key` alone."""
        return self.api_keys if self.api_key is None else (self.api_key,)

    def with_key(self, key: SecretStr) -> ProviderConfig:
        """Return the configuration with this key as its only one."""
        return self.model_copy(update={"api_key": key, "api_keys": ()})

    @property
    def sends_key(self) -> bool:
        """Whether a key of its own goes with each request."""
        names = (name.lower() for name in self.headers)
        return bool(self.keys) or any(name.endswith(_KEY_HEADERS) for name in names)

    @model_validator(mode="wrap")
    @classmethod
    def _substitute_variables(
        cls, values: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        if not isinstance(values, Mapping):
            return handler(values)
        if isinstance(info.context, AlreadySubstituted):
            unset = info.context.unset
        else:
            values, unset = _substituted(values)
        name = values.get("type")
        company = COMPANIES.get(name) if isinstance(name, str) else None
        provider = handler(_of_company(values, company) if company else values)
        provider._unset, provider._company = unset, str(name) if company else ""
        refuse(provider._contradictions())
        return provider

    @field_serializer("options")
    def _hide_options(self, options: dict[str, Any]) -> Any:
        return mask(options)

    @property
    def _needs_one(self) -> str:
        return f"a provider of type {self._company or self.type} needs one"

    def _address_problem(self) -> str | None:
        if self.base_url is None:
            return None
        what = address_problem(self.base_url)
        if what is None and self.sends_key and not self.allow_http:
            what = PLAIN_HTTP if exposure(self.base_url) == "public" else None
        return what

    def _contradictory_keys(self) -> Iterator[tuple[KeyPath, str]]:
        if self.is_enabled and "api_keys" in self.model_fields_set and not self.api_keys:
            yield ("api_keys",), "expected at least one key"
        if self.api_keys and self.api_key is not None:
            yield ("api_keys",), "expected api_key or api_keys, not both"
        for index, key in enumerate(self.api_keys):
            if key in self.api_keys[:index]:
                yield ("api_keys", index), "another one is the same key"
        if self.sticky_by is not None and self.spread != "sticky":
            yield ("sticky_by",), "only for spread: sticky"

    def _contradictions(self) -> Iterator[tuple[KeyPath, str]]:
        if self.is_enabled and not self.default_model and self.type not in _NEED_NO_MODEL:
            yield ("default_model",), f"missing; {self._needs_one}"
        what = self.model_problem(self.default_model) if self.default_model else None
        if what is not None and self.is_enabled:
            yield ("default_model",), what
        wants_address = self.company is not None and "base_url" in self.company.wants
        if self.is_enabled and wants_address and self.base_url is None:
            yield ("base_url",), f"missing; {self._needs_one}"
        if self.engine == "direct" and self.type not in _DIRECT_TYPES:
            yield ("engine",), f"type {self.type} has no direct lane"
        if self.api is not None and (self.type != "openai" or self.engine not in (None, "direct")):
            yield ("api",), "only the direct lane of type openai has several"
        if what := self._address_problem():
            yield ("base_url",), what
        yield from self._contradictory_keys()
        for name in self.options:
            if name in _OUR_FIELDS:
                yield ("options", name), "not an option; it is a key of its own or set per call"


class ProvidersConfig(Model):
    """The providers by name, in the order written.

    `settings` are those of the whole configuration; they go where the providers go.
    """

    providers: dict[str, ProviderConfig] = Field(default_factory=dict)
    settings: Settings = Field(default=Settings(), exclude=True, repr=False)

    @property
    def enabled(self) -> dict[str, ProviderConfig]:
        """The providers that are on, by name."""
        return {name: each for name, each in self.providers.items() if each.is_enabled}

    @property
    def off(self) -> Mapping[str, str]:
        """The providers that are off, and why."""
        return MappingProxyType(
            {
                name: provider.off_reason
                for name, provider in self.providers.items()
                if provider.off_reason is not None
            }
        )


def _of_company(values: Mapping[str, Any], company: ProviderType) -> dict[str, Any]:
    """Put a company's lane, address and default model under what is written; prefix models."""
    written = {name: value for name, value in values.items() if value is not None}
    model, price = written.get("default_model", company.model), written.get("price")
    made = {"base_url": company.base_url, "default_model": model, **written, "type": company.lane}
    if isinstance(model, str):
        made["default_model"] = company.full(model)
    if isinstance(price, Mapping) and _price_form(price) == "(by model)":
        made["price"] = {company.full(name): each for name, each in price.items()}
    return {name: value for name, value in made.items() if value is not None}


def not_set(names: tuple[str, ...]) -> str:
    """Say that variables are not set."""
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not set"


def _substituted(values: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    part = substitute(values, Variables(os.environ, all_plain=True), VaultKeys(os.environ))
    refuse(part.found)
    return part.values, part.unset
