"""A configuration with no file: from the keys and addresses that an environment holds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from pydantic import SecretStr

from orchestify.core.config import Config, parse_config
from orchestify.core.provider_types import PROVIDER_TYPES
from orchestify.models.retirement import is_ending

FREE = {"input_usd_per_mtok": 0, "output_usd_per_mtok": 0}


@dataclass(frozen=True, slots=True)
class EnvProvider:
    """A provider that an environment can hold.

    It is there when one of the variables of each group in `needs` is set; `values` are what
    the configuration then says, with `{0}`, `{1}`... for the variables found, by group.
    `optional` values, each with the variables that it is found in, are left out where none of
    those is set. `model_variables` name the default model; where none is set it is the first of
    `models` that is not about to end.
    """

    name: str
    needs: tuple[tuple[str, ...], ...]
    values: Mapping[str, Any]
    models: tuple[str, ...]
    model_variables: tuple[str, ...] = ()
    optional: Mapping[str, tuple[tuple[str, ...], Any]] = field(default_factory=dict)


def _models(name: str, *later: str) -> tuple[str, ...]:
    return (PROVIDER_TYPES[name].model or "", *later)


def _address(*names: str) -> Mapping[str, tuple[tuple[str, ...], Any]]:
    """Return the address, as the vendors' SDKs (`_BASE_URL`) or LiteLLM (`_API_BASE`) call it.

    A host that has it set reaches the vendor through a proxy, and sends no key past it.
    """
    ends = ("BASE_URL", "API_BASE")
    return {"base_url": (tuple(f"{name}_{end}" for end in ends for name in names), "${{{0}}}")}


def _keyed(name: str, *keys: str, later: tuple[str, ...] = ()) -> EnvProvider:
    kind, names = PROVIDER_TYPES[name], [key.removesuffix("_API_KEY") for key in keys]
    address = {"base_url": kind.base_url} if kind.base_url else {}
    return EnvProvider(
        name,
        (keys,),
        {"type": kind.lane, "api_key": "${{{0}}}", **address},
        _models(name, *later),
        tuple(f"DEFAULT_{each}_MODEL" for each in names),
        _address(*names),
    )


def _local(name: str, model: str) -> EnvProvider:
    upper = name.upper()
    return EnvProvider(
        name,
        ((f"{upper}_BASE_URL", f"{upper}_URL", f"{upper}_API_BASE"),),
        {"type": "openai", "base_url": "${{{0}}}", "price": FREE},
        (model,),
        (f"DEFAULT_{upper}_MODEL",),
    )


ENV_PROVIDERS = (
    EnvProvider(
        "azure",
        (("AZURE_OPENAI_API_KEY",), ("AZURE_OPENAI_ENDPOINT",), ("AZURE_OPENAI_DEPLOYMENT",)),
        {"type": "litellm", "api_key": "${{{0}}}", "base_url": "${{{1}}}"},
        ("azure/${{{2}}}",),
        optional={"options": (("AZURE_OPENAI_API_VERSION",), {"api_version": "${{{0}}}"})},
    ),
    EnvProvider(
        "openai",
        (("OPENAI_API_KEY",),),
        {"type": "openai", "api_key": "${{{0}}}"},
        _models("openai", "gpt-5.4", "gpt-5.6"),
        ("DEFAULT_OPENAI_MODEL",),
        optional={
            **_address("OPENAI"),
            "headers": (("OPENAI_ORG_ID",), {"OpenAI-Organization": "${{{0}}}"}),
        },
    ),
    _keyed("anthropic", "ANTHROPIC_API_KEY", later=("claude-sonnet-5", "claude-sonnet-5-5")),
    _keyed("deepseek", "DEEPSEEK_API_KEY", later=("deepseek-v4-pro",)),
    _keyed("xai", "XAI_API_KEY", "GROK_API_KEY", later=("grok-4.7",)),
    EnvProvider(
        "gemini",
        (("GEMINI_API_KEY", "GOOGLE_API_KEY"),),
        {"type": "litellm", "api_key": "${{{0}}}"},
        _models("gemini", "gemini/gemini-3.5-flash", "gemini/gemini-flash-latest"),
        ("DEFAULT_GEMINI_MODEL", "DEFAULT_GOOGLE_MODEL"),
        _address("GEMINI", "GOOGLE", "GOOGLE_GEMINI"),
    ),
    _keyed("groq", "GROQ_API_KEY", later=("openai/gpt-oss-20b",)),
    _keyed("mistral", "MISTRAL_API_KEY", later=("mistral-medium-latest",)),
    _keyed("openrouter", "OPENROUTER_API_KEY", later=("anthropic/claude-sonnet-5",)),
    _local("ollama", "llama3"),
    _local("vllm", "default"),
    _local("localai", "gpt-4"),
)
"""The providers looked for, in this order; local ones are free, said aloud."""

_LIMITS = {
    "requests_per_minute": "LLM_RATE_LIMIT_PER_MINUTE",
    "requests_per_day": "LLM_RATE_LIMIT_PER_DAY",
}
_DAILY_COST = "LLM_DAILY_COST_ALERT_THRESHOLD"
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def document_from_env(environ: Mapping[str, str], today: date) -> dict[str, Any]:
    """Return the configuration's document, with variables in place of what they hold.

    `today` says which models are about to end; those are not proposed.
    """
    document: dict[str, Any] = {"providers": {}}
    for row in ENV_PROVIDERS:
        values = _values(row, environ, today)
        if values is not None:
            document["providers"][row.name] = values
    limits = {key: f"${{{name}}}" for key, name in _LIMITS.items() if environ.get(name)}
    if limits:
        document["rate_limit"] = limits
    if environ.get(_DAILY_COST):
        document["alerts"] = {"daily_cost_usd": f"${{{_DAILY_COST}}}"}
    return document


def variables_taken(environ: Mapping[str, str], today: date) -> dict[str, list[str]]:
    """Return what a configuration of the environment is made of.

    By provider, or by the key at the top (`rate_limit`, `alerts`): the variables' names.
    """
    document = document_from_env(environ, today)
    parts = {**document.pop("providers"), **document}
    return {name: list(dict.fromkeys(_VARIABLE.findall(str(each)))) for name, each in parts.items()}


def missing_from_env(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the providers that an environment holds in part: by name, the variables to set."""
    missing = {}
    for row in ENV_PROVIDERS:
        found = [_first_set(group, environ) for group in row.needs]
        if any(found) and not all(found):
            unset = zip(row.needs, found, strict=True)
            missing[row.name] = [group[0] for group, variable in unset if not variable]
    return missing


def keys_from_env(environ: Mapping[str, str]) -> dict[str, tuple[str, SecretStr]]:
    """Return the keys that an environment holds: by provider, the variable and the key."""
    keys = {}
    for row in ENV_PROVIDERS:
        variable = _first_set(row.needs[0], environ) if "api_key" in row.values else None
        if variable:
            keys[row.name] = (variable, SecretStr(environ[variable]))
    return keys


def config_from_env(environ: Mapping[str, str], today: date) -> Config:
    """Return the configuration of what an environment holds.

    Raises:
        ConfigError: a value cannot be used; it is named, not shown.
    """
    document = json.dumps(document_from_env(environ, today), indent=1)
    return parse_config(document, name="<environment>", environ=environ)


def _values(row: EnvProvider, environ: Mapping[str, str], today: date) -> dict[str, Any] | None:
    found = [_first_set(group, environ) for group in row.needs]
    if not all(found):
        return None
    values: dict[str, Any] = {key: _filled(value, found) for key, value in row.values.items()}
    for key, (names, value) in row.optional.items():
        name = _first_set(names, environ)
        if name:
            values[key] = _filled(value, [name])
    variable = _first_set(row.model_variables, environ)
    model = f"${{{variable}}}" if variable else _filled(_lasting(row, today), found)
    if variable and row.values["type"] == "litellm" and "/" not in environ[variable]:
        model = f"{row.models[0].partition('/')[0]}/{model}"
    return {**values, "default_model": model}


def _lasting(row: EnvProvider, today: date) -> str:
    """Return the first of a row's models that is not about to end, or the last."""
    *choice, last = row.models
    return next((model for model in choice if not is_ending(model, row.name, today)), last)


def _first_set(names: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    return next((name for name in names if environ.get(name)), None)


def _filled(value: Any, names: list[str | None]) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(each, names) for key, each in value.items()}
    return value.format(*names) if isinstance(value, str) else value
