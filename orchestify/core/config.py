"""The configuration: `load_config`, `parse_config` and every model of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr

from orchestify.core.agents import AgentConfig, AgentsConfig, TargetConfig, ThinkingBudget
from orchestify.core.document import Origin
from orchestify.core.files import Origins, Sources, read, read_mapping, read_text
from orchestify.core.policies import (
    AlertsConfig,
    BudgetConfig,
    BudgetMatch,
    CircuitBreakerConfig,
    EffectivePolicies,
    LedgerConfig,
    Policies,
    RateLimitConfig,
    RetryConfig,
    Settings,
    TaskConfig,
    policies_for,
)
from orchestify.core.problems import in_file_order
from orchestify.core.providers import PriceConfig, ProviderConfig, ProvidersConfig
from orchestify.core.schema import config_schema
from orchestify.core.validation import validate
from orchestify.errors import ConfigError, InvalidParameterError

__all__ = [
    "AgentConfig",
    "AgentsConfig",
    "AlertsConfig",
    "BudgetConfig",
    "BudgetMatch",
    "CircuitBreakerConfig",
    "Config",
    "ConfigError",
    "EffectivePolicies",
    "LedgerConfig",
    "Origin",
    "Policies",
    "PriceConfig",
    "ProviderConfig",
    "ProvidersConfig",
    "RateLimitConfig",
    "RetryConfig",
    "Settings",
    "TargetConfig",
    "TaskConfig",
    "ThinkingBudget",
    "config_schema",
    "load_config",
    "parse_config",
    "policies_for",
]


class Config(Settings):
    """A whole configuration; nothing in it reads files or the environment any more."""

    providers: ProvidersConfig = Field(default_factory=ProvidersConfig)
    agents: AgentsConfig = Field(default_factory=AgentsConfig)

    _files: tuple[str, ...] = PrivateAttr(default=())
    _origins: Origins = PrivateAttr(default_factory=Origins)
    _misnamed: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """The files it was read from, in that order."""
        return self._files

    @property
    def misnamed(self) -> Mapping[str, str]:
        """Files beside them that are not read, each with the name that would be."""
        return self._misnamed

    def origin(self, path: str | Sequence[str | int]) -> Origin | None:
        """Return where a key is written, None where it is not; merged keys stand at their source.

        `path` is dotted, `agents.planner.model` or `budgets.0.name`, or a sequence of its parts.
        """
        return self._origins.find(path)


def load_config(
    path: str | Path | Mapping[str, Any], *, environ: Mapping[str, str] | None = None
) -> Config:
    """Read a directory (`providers.yaml`, `agents.yaml`, `policies.yaml`), one file, or a mapping.

    A mapping has the keys of one file; problems name the keys. Variables come from `environ`, by
    default from the process's environment; so do the vault's place and encryption keys, where an
    `api_key` is `vault:NAME`.

    Raises: ConfigError with every problem of every file, in file order; InvalidParameterError where
    it is no path and no mapping.
    """
    if not isinstance(path, str | os.PathLike | Mapping):
        kind = type(path).__name__
        raise InvalidParameterError(f"load_config takes a path or a mapping, not a {kind}")
    sources = read_mapping(path, "<mapping>") if isinstance(path, Mapping) else read(Path(path))
    config, problems = _build(sources, environ)
    if config is None:
        del path, sources, environ  # what a traceback shows of this frame holds no key
        raise ConfigError(problems)
    return config


def parse_config(
    text: str, *, name: str = "<text>", environ: Mapping[str, str] | None = None
) -> Config:
    """Read one document in memory; `name` is the file's name in problems.

    Raises: ConfigError with every problem.
    """
    config, problems = _build(read_text(text, name), environ)
    if config is None:
        del text, environ
        raise ConfigError(problems)
    return config


def _build(sources: Sources, environ: Mapping[str, str] | None) -> tuple[Config | None, list[str]]:
    parts = validate(sources, os.environ if environ is None else environ)
    if sources.problems:
        return None, in_file_order(sources.problems, sources.names)
    settings = parts.settings
    written = {name: getattr(settings, name) for name in settings.model_fields_set}
    config = Config(
        **written,
        providers=ProvidersConfig(providers=parts.providers, settings=settings),
        agents=AgentsConfig(agents=parts.agents),
    )
    config._files, config._origins = tuple(sources.names), sources.origins
    config._misnamed = sources.misnamed
    return config, []
