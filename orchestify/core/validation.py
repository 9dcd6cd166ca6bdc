"""Validation: from values as read to models, with every problem found on the way."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from orchestify.core.agents import AgentConfig, TargetConfig
from orchestify.core.error_messages import validated
from orchestify.core.fields import Model
from orchestify.core.files import (
    FILES,
    HOST_PREFIX,
    NOT_A_MAPPING,
    REQUIRED,
    SECTIONS,
    Sources,
)
from orchestify.core.policies import BudgetMatch, Settings
from orchestify.core.problems import MOST_SHOWN, KeyPath, did_you_mean
from orchestify.core.providers import AlreadySubstituted, ProviderConfig
from orchestify.core.references import (
    check_names,
    check_sendable,
    cross_checks,
    unused_providers,
)
from orchestify.core.substitution import VaultKeys, substitute
from orchestify.core.variables import Variables

ModelT = TypeVar("ModelT", bound=Model)
NamedT = TypeVar("NamedT", AgentConfig, TargetConfig, BudgetMatch)

_RELATIVE_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:|file:|\?)(.+)")


@dataclass(slots=True)
class ValidParts:
    """The valid parts of a configuration; problems of the others are in the sources.

    The settings are without the keys that are wrong.
    """

    settings: Settings = field(default_factory=Settings)
    providers: dict[str, ProviderConfig] = field(default_factory=dict)
    agents: dict[str, AgentConfig] = field(default_factory=dict)


def validate(sources: Sources, environ: Mapping[str, str]) -> ValidParts:
    """Fill in variables and keys of the vault, validate every part, check what refers to what.

    Problems go to `sources.problems`; after `MOST_SHOWN` of them no more are looked for.
    """
    parts = ValidParts()
    vault = VaultKeys(environ, sources.folder)
    parts.settings = _settings(sources, vault) or parts.settings
    spare = unused_providers(sources.values)
    parts.providers, _ = _entries(sources, "providers", ProviderConfig, vault, spare)
    parts.agents, faulty = _entries(sources, "agents", AgentConfig, vault)
    if sources.broken:
        return parts
    if REQUIRED not in sources.values:
        sources.report((REQUIRED,), "missing" + _where_others_are(sources))
        return parts
    _name_full_models(parts)
    known = {kind: _keys(sources.values.get(kind)) for kind in SECTIONS}
    told = {problem.path for problem in sources.problems}
    found = cross_checks(parts.settings, parts.providers, parts.agents, known, told)
    default = parts.settings.default_provider
    sendable = check_sendable(parts.providers, parts.agents, default)
    _report(sources, chain(found, check_names(faulty, known["providers"]), sendable))
    return parts


def _name_full_models(parts: ValidParts) -> None:
    """Name the models of agents, aliases and budgets as their providers' lanes take them."""
    default = parts.settings.default_provider

    def full(provider: str | None, model: str | None) -> str | None:
        found = parts.providers.get(provider or default or "")
        return found.full_model(model) if found and model else model

    for name, agent in parts.agents.items():
        fallback = tuple(
            _with_model(each, full(each.provider, each.model)) for each in agent.fallback
        )
        own = _with_model(agent, full(agent.provider, agent.model))
        parts.agents[name] = own.model_copy(update={"fallback": fallback} if fallback else None)
    budgets = tuple(
        each.model_copy(
            update={"match": _with_model(each.match, full(each.match.provider, each.match.model))}
        )
        if each.match.provider
        else each
        for each in parts.settings.budgets
    )
    models = {
        alias: each.model_copy(update={"model": full(each.provider, each.model)})
        for alias, each in parts.settings.models.items()
    }
    renamed = {"budgets": budgets, "models": models}
    update = {name: value for name, value in renamed.items() if value}
    parts.settings = parts.settings.model_copy(update=update)


def _with_model(entry: NamedT, model: str | None) -> NamedT:
    """Return an entry with another `model`, or as it is where that is the same."""
    is_same = model == entry.model
    return entry if is_same else entry.model_copy(update={"model": model})


def _where_others_are(sources: Sources) -> str:
    """Say how to have the other files read, where one file of a folder was given alone."""
    is_one_of_them = Path(sources.names[0]).stem in FILES and sources.folder is not None
    return "; name the folder, so that all its files are read" if is_one_of_them else ""


def _settings(sources: Sources, vault: VaultKeys) -> Settings | None:
    top = {
        key: value
        for key, value in sources.values.items()
        if key not in SECTIONS and not key.startswith(HOST_PREFIX)
    }
    unknown = [key for key in top if key not in Settings.model_fields]
    names = (*Settings.model_fields, *SECTIONS)
    _report(sources, (((key,), "unknown key" + did_you_mean(key, names)) for key in unknown))
    known = {key: value for key, value in top.items() if key in Settings.model_fields}
    return _validated(sources, (), known, Settings, vault)[0]


def _entries(
    sources: Sources,
    kind: str,
    model: type[ModelT],
    vault: VaultKeys,
    spare: Collection[str] = (),
) -> tuple[dict[str, ModelT], dict[str, ModelT]]:
    """Return the valid entries by name, and the others without the keys that are wrong.

    A `spare` one whose variables are not set is off, as `enabled: auto` would have it.
    """
    valid: dict[str, ModelT] = {}
    faulty: dict[str, ModelT] = {}
    values = sources.values.get(kind, {})
    if values is not None and not isinstance(values, dict):
        sources.report((kind,), NOT_A_MAPPING)
    for name, value in values.items() if isinstance(values, dict) else ():
        path, written = (kind, name), {} if value is None else value
        if name in spare and isinstance(written, dict) and "enabled" not in written:
            variables = Variables(vault.environ)
            variables.substitute(written, path)
            written = {**written, "enabled": "auto"} if variables.unset else written
        entry, is_valid = _validated(sources, path, written, model, vault)
        if entry is not None:
            (valid if is_valid else faulty)[name] = entry
        if len(sources.problems) > MOST_SHOWN:
            break
    return valid, faulty


def _validated(
    sources: Sources, path: KeyPath, value: Any, model: type[ModelT], vault: VaultKeys
) -> tuple[ModelT | None, bool]:
    """Return the entry, without its keys that are wrong, and whether it has none of those."""
    part = substitute(value, Variables(vault.environ), vault, path)
    substituted = part.values
    if isinstance(substituted, dict):  # a key without a value is not written
        substituted = {
            key: inner
            for key, inner in substituted.items()
            if inner is not None or key not in model.model_fields
        }
        substituted = (
            _with_ledger_at(sources.folder, substituted) if model is Settings else substituted
        )
    _report(sources, part.found)
    context = AlreadySubstituted(part.unset)
    entry, found = validated(model, substituted, context)
    for inner, what in found:
        at = (*path, *inner)
        if not any(at[: len(gone)] == gone for gone in part.missing_at):
            sources.report(at, what)
    if entry is None and isinstance(substituted, dict):
        mistaken = {inner[0] for inner, _ in found if inner}
        rest = {key: value for key, value in substituted.items() if key not in mistaken}
        return validated(model, rest, context)[0], False
    return entry, True


def _with_ledger_at(folder: Path | None, top: dict[str, Any]) -> dict[str, Any]:
    """Let a relative SQLite path start at the configuration's folder."""
    ledger = top.get("ledger")
    url = ledger.get("url") if isinstance(ledger, dict) else None
    relative = _RELATIVE_SQLITE.fullmatch(url) if isinstance(url, str) else None
    if folder is None or relative is None or ledger is None:
        return top
    absolute = (folder.resolve() / relative[2]).as_posix()
    return {**top, "ledger": {**ledger, "url": relative[1] + absolute}}


def _report(sources: Sources, found: Iterable[tuple[KeyPath, str]]) -> None:
    for path, what in found:
        sources.report(path, what)
        if len(sources.problems) > MOST_SHOWN:
            return


def _keys(value: object) -> frozenset[str]:
    return frozenset(value) if isinstance(value, dict) else frozenset()
