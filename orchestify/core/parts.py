"""Values as read to validated models, with all that is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, TypeVar

from orchestify.core.agents import AgentConfig
from orchestify.core.checks import cross_checks
from orchestify.core.fields import Model
from orchestify.core.filling import VaultKeys, fill_in
from orchestify.core.problems import MOST_SHOWN, Path, did_you_mean
from orchestify.core.providers import FilledIn, ProviderConfig
from orchestify.core.reading import HOST_PREFIX, NOT_A_MAPPING, SECTIONS, Sources
from orchestify.core.settings import Settings
from orchestify.core.validation import validated
from orchestify.core.variables import Variables

ModelT = TypeVar("ModelT", bound=Model)

_RELATIVE_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:|file:|\?)(.+)")


@dataclass(slots=True)
class Parts:
    """The parts of a configuration that are valid; the others' problems are in the sources."""

    settings: Settings = field(default_factory=Settings)
    providers: dict[str, ProviderConfig] = field(default_factory=dict)
    agents: dict[str, AgentConfig] = field(default_factory=dict)


def validate(sources: Sources, environ: Mapping[str, str]) -> Parts:
    """Fill in variables and keys of the vault, validate every part, check what refers to what.

    Problems go to `sources.problems`; after `MOST_SHOWN` of them no more are looked for.
    """
    parts = Parts()
    vault = VaultKeys(environ, sources.folder)
    settings = _settings(sources, vault)
    parts.settings = settings or parts.settings
    parts.providers = _entries(sources, "providers", ProviderConfig, vault)
    parts.agents = _entries(sources, "agents", AgentConfig, vault)
    if sources.broken:
        return parts
    if "providers" not in sources.values:
        sources.report(("providers",), "missing")
    known = {kind: _keys(sources.values.get(kind)) for kind in SECTIONS}
    _report(sources, cross_checks(parts.settings, parts.providers, parts.agents, known))
    return parts


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
    return _validated(sources, (), known, Settings, vault)


def _entries(
    sources: Sources, kind: str, model: type[ModelT], vault: VaultKeys
) -> dict[str, ModelT]:
    values = sources.values.get(kind)
    if values is None:
        return {}
    if not isinstance(values, dict):
        sources.report((kind,), NOT_A_MAPPING)
        return {}
    entries = {}
    for name, value in values.items():
        entry = _validated(sources, (kind, name), {} if value is None else value, model, vault)
        if entry is not None:
            entries[name] = entry
        if len(sources.problems) > MOST_SHOWN:
            break
    return entries


def _validated(
    sources: Sources, path: Path, value: Any, model: type[ModelT], vault: VaultKeys
) -> ModelT | None:
    part = fill_in(value, Variables(vault.environ), vault, path)
    filled = part.values
    if isinstance(filled, dict):  # a key without a value is not written
        filled = {
            key: inner
            for key, inner in filled.items()
            if inner is not None or key not in model.model_fields
        }
        filled = _with_ledger_at(sources.folder, filled) if model is Settings else filled
    _report(sources, part.found)
    entry, found = validated(model, filled, FilledIn(part.unset))
    for inner, what in found:
        at = (*path, *inner)
        if not any(at[: len(gone)] == gone for gone in part.unfilled):
            sources.report(at, what)
    return entry


def _with_ledger_at(folder: FilePath | None, top: dict[str, Any]) -> dict[str, Any]:
    """Let a relative SQLite path start at the configuration's folder."""
    ledger = top.get("ledger")
    url = ledger.get("url") if isinstance(ledger, dict) else None
    relative = _RELATIVE_SQLITE.fullmatch(url) if isinstance(url, str) else None
    if folder is None or relative is None or ledger is None:
        return top
    absolute = (folder.resolve() / relative[2]).as_posix()
    return {**top, "ledger": {**ledger, "url": relative[1] + absolute}}


def _report(sources: Sources, found: Iterable[tuple[Path, str]]) -> None:
    for path, what in found:
        sources.report(path, what)
        if len(sources.problems) > MOST_SHOWN:
            return


def _keys(value: object) -> frozenset[str]:
    return frozenset(value) if isinstance(value, dict) else frozenset()
