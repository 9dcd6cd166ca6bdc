"""The addresses that stored keys are sent to, and which keys a change would send elsewhere.

Who may change rows may not read keys: a stored key stays where it was given for, and goes to
another address only where it is given again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestify.core.chains import configured_models
from orchestify.core.config import Config
from orchestify.core.provider_types import PROVIDER_TYPES
from orchestify.core.providers import ProviderConfig
from orchestify.server.rows.provider_rows import inherited_provider, prefix_of
from orchestify.server.rows.stored_rows import AgentRow, ProviderRow, TenantRows

_GIVE_AGAIN = "the address changes; send the api_key again, or null"
_FIRST_NULL = (
    "this change sends the agent's key to another address; set its api_key to null first, "
    "and give it again afterwards"
)


class Destination(NamedTuple):
    """Where a key goes: by which protocol, to which address, to which of LiteLLM's backends."""

    type: str
    base_url: str
    backend: str


def moved_keys(base: Config, before: TenantRows, after: TenantRows) -> list[str]:
    """Return a problem for each stored key that would go where it did not go before.

    Rows that are off count as those that are on: they come back as they are. A key whose place
    is gone has none, and so gets no other either.
    """
    known = dict(_Destinations(base, before).of_keys())
    old = {row.id: row for row in before.agents}
    lines = []
    for key, (row, places) in _Destinations(base, after).of_keys():
        if key not in known or places <= known[key][1]:
            continue
        if isinstance(row, ProviderRow):
            lines.append(f"providers.{row.name}.api_key: {_GIVE_AGAIN}")
        else:
            what = _FIRST_NULL if old.get(row.id) == row else _GIVE_AGAIN
            lines.append(f"agents.{row.agent_id}.api_key: {what}")
    return lines


_Key = tuple[str, str]  # a row's id and its key, encrypted: another key is another text
_Going = tuple[ProviderRow | AgentRow, frozenset[Destination]]


@dataclass(slots=True)
class _Destinations:
    """The providers of a tenant by name, and where keys go with them."""

    base: Config
    rows: TenantRows
    _own: dict[str, ProviderRow] = field(init=False)
    _named: frozenset[tuple[str, str]] = field(init=False)
    _default: str | None = field(init=False)

    def __post_init__(self) -> None:
        self._own = {row.name: row for row in self.rows.providers}
        self._named = frozenset(configured_models(self.base))
        chosen = [row for row in self.rows.providers if row.is_default]
        names = [row.name for row in chosen if row.is_active]
        # one that is off is none, but would be it again
        off = [self.base.default_provider or "", *(row.name for row in chosen)]
        self._default = next(filter(None, [*names, *off]), None)

    def of_keys(self) -> Iterator[tuple[_Key, _Going]]:
        """Iterate the stored keys with their row and where they go."""
        for row in self.rows.providers:
            if row.encrypted_api_key is not None:
                place = _destination_of(row)
                places = frozenset() if place is None else frozenset({place})
                yield (row.id, row.encrypted_api_key), (row, places)
        for agent in self.rows.agents:
            if agent.api_key_encrypted is not None:
                yield (agent.id, agent.api_key_encrypted), (agent, self._of_agent(agent))

    def _of_agent(self, row: AgentRow) -> frozenset[Destination]:
        """The agent's key goes to its own provider, also where that stands among the fallbacks."""
        name = row.provider or self._default
        if name is None:
            return frozenset()
        places = (self._at(name, model) for model in _models_at(row, name))
        return frozenset(place for place in places if place is not None)

    def _at(self, name: str, model: str | None) -> Destination | None:
        row, theirs = self._own.get(name), self.base.providers.providers.get(name)
        if row is not None:
            theirs = inherited_provider(row, theirs)
            if theirs is None:
                return _destination_of(row)
        if theirs is None:
            return None
        backend = ""
        if theirs.type == "litellm":
            backend = self._full(name, theirs, model).partition("/")[0]
        return Destination(theirs.type, _plain(theirs.base_url), backend)

    def _full(self, name: str, theirs: ProviderConfig, model: str | None) -> str:
        if model is None or (name, model) in self._named:
            return model or theirs.default_model or ""
        return (prefix_of(theirs) or "") + model


def _destination_of(row: ProviderRow) -> Destination | None:
    """Where a row leads that inherits nothing; None where its type is none."""
    kind = PROVIDER_TYPES.get(row.provider_type)
    if kind is None:
        return None
    return Destination(
        kind.lane, _plain(row.config.get("base_url") or kind.base_url), kind.prefix[:-1]
    )


def _models_at(row: AgentRow, provider: str) -> Iterator[str | None]:
    """The models that an agent calls at its own provider; None is the provider's default."""
    yield row.model_name
    if row.fallback_provider == provider:
        yield row.fallback_model
    fallback: Any = row.config.get("fallback")
    for each in fallback if isinstance(fallback, list) else ():
        if isinstance(each, Mapping) and each.get("provider") == provider:
            yield each.get("model")


def _plain(base_url: str | None) -> str:
    return (base_url or "").rstrip("/")
