"""Aliases: names that callers give to a model, and the provider and model that they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydantic import Field

from orchestify.core.error_messages import Finding
from orchestify.core.fields import Model, Text

ANY = "*"
"""At an alias' end: whatever follows; in its model: what followed."""


class ModelAlias(Model):
    """What an alias stands for; in `model` of an alias with `*`, `*` is what its own stood for."""

    provider: Text = Field(description="A name among the providers")
    model: Text = Field(description="The model there; `*` is what the alias' own `*` stood for")


class Aliased(NamedTuple):
    """What a name stands for, and the alias that says so."""

    alias: str
    provider: str
    model: str


def exact_alias(models: Mapping[str, ModelAlias], name: str) -> Aliased | None:
    """Return what the alias of this very name stands for, None where there is none."""
    found = None if name.endswith(ANY) else models.get(name)
    return None if found is None else Aliased(name, found.provider, found.model)


def open_alias(models: Mapping[str, ModelAlias], name: str) -> Aliased | None:
    """Return what a name stands for by an alias with `*`, the longest that fits."""
    fitting = [each for each in models if each.endswith(ANY) and name.startswith(each[:-1])]
    if not fitting:
        return None
    alias = max(fitting, key=len)
    found, rest = models[alias], name[len(alias) - 1 :]
    return Aliased(alias, found.provider, found.model.replace(ANY, rest))


def alias_problems(models: Mapping[str, ModelAlias]) -> Iterator[Finding]:
    """Iterate the aliases that can never be told or never mean anything."""
    for alias, each in models.items():
        at = ("models", alias)
        if ANY in alias[:-1]:
            yield at, "`*` stands at an alias' end only"
        elif not alias or alias != alias.strip():
            yield at, "expected a name without blanks around it"
        elif ANY in each.model and not alias.endswith(ANY):
            yield (*at, "model"), "`*` stands for what the alias' own `*` stood for; it has none"
        elif each.model.count(ANY) > 1:
            yield (*at, "model"), "expected `*` once"
