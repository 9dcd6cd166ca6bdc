"""An agent's row read into its configuration, and the price that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from orchestify.core.agents import AgentConfig
from orchestify.core.error_messages import Finding, validated
from orchestify.core.policies import Policies
from orchestify.core.providers import AlreadySubstituted, PriceConfig
from orchestify.server.rows.input_rules import NAME, model_problem, value_problems
from orchestify.server.rows.provider_rows import OpenKey, config_problems
from orchestify.server.rows.stored_rows import AgentRow

CONFIG_KEYS = (
    *("stop", "thinking", "cache", "fallback", "fallback_on", "strategy", "weight", "mode"),
    *("metadata", *Policies.model_fields),
)
"""What an agent's `config` may say beside the columns."""

ModelAt = Callable[[str | None, str], str | None]
"""From a provider's name and a model to the model's name there; None: it may not be named."""

_PLAIN = ("metadata", "stop")  # the host's own, and texts that models write
_COLUMNS = {"provider": "provider", "model": "model_name"}
_NUMBERS = ("temperature", "top_p", "max_tokens")
_COSTS = ("cost_per_1k_input_tokens", "cost_per_1k_output_tokens")


def row_agent(
    row: AgentRow, model_at: ModelAt, open_key: OpenKey
) -> tuple[AgentConfig | None, list[Finding]]:
    """Return the agent that a row describes, or all that is wrong with it.

    Raises:
        VaultError: its key cannot be opened.
    """
    found = list(_row_problems(row))
    if found:
        return None, found
    values: dict[str, Any] = {
        name: value for name, value in row.config.items() if value is not None
    }
    for name in (*_NUMBERS, "provider"):
        if getattr(row, name) is not None:
            values[name] = getattr(row, name)
    if row.api_key_encrypted is not None:
        values["api_key"] = open_key(row.api_key_encrypted)
    if row.model_name is not None:
        values["model"] = row.model_name
    values |= {"enabled": row.enabled, "fallback": _fallback(row)}
    values = _with_names(values, model_at, found)
    agent, wrong = validated(AgentConfig, values, AlreadySubstituted())
    return (None if found else agent), [*found, *map(_renamed, wrong)]


def row_price(row: AgentRow) -> tuple[PriceConfig | None, list[Finding]]:
    """Return the price of the agent's model, None where the row has none."""
    costs = [getattr(row, name) for name in _COSTS]
    if costs == [None, None]:
        return None, []
    if None in costs:
        return None, [((_COSTS[costs.index(None)],), "missing; a price has both")]
    per_mtok = [Decimal(str(each)) * 1_000 for each in costs]
    names = ("input_usd_per_mtok", "output_usd_per_mtok")
    price, wrong = validated(
        PriceConfig, dict(zip(names, per_mtok, strict=True)), AlreadySubstituted()
    )
    columns = dict(zip(names, _COSTS, strict=True))
    return price, [((columns[str(path[0])],), what) for path, what in wrong]


def _row_problems(row: AgentRow) -> Iterator[Finding]:
    if not isinstance(row.agent_id, str) or not NAME.fullmatch(row.agent_id):
        yield ("agent_id",), "expected at most 63 letters, digits and . _ -"
    yield from config_problems(row.config, CONFIG_KEYS, _PLAIN)
    columns = {
        name: getattr(row, name)
        for name in (*_NUMBERS, "provider", "model_name", "fallback_provider", "fallback_model")
    }
    yield from value_problems({name: each for name, each in columns.items() if each is not None})
    for name in ("provider", "fallback_provider", "fallback_model", "model_name"):
        value = columns[name]
        if value is not None and not (isinstance(value, str) and 1 <= len(value) <= 200):
            yield (name,), "expected a text of 1 to 200 characters"
    for name in _COSTS:
        cost = getattr(row, name)
        is_number = isinstance(cost, (int, float)) and not isinstance(cost, bool)
        if cost is not None and not (is_number and 0 <= cost <= 100):
            yield (name,), "expected a number from 0 to 100, in USD"
    if row.fallback_model is not None and row.fallback_provider is None:
        yield ("fallback_model",), "of which provider? set fallback_provider"


def _fallback(row: AgentRow) -> Any:
    """The columns' target, then those of the config; what is no list is for the model to refuse."""
    rest = row.config.get("fallback") or []
    if row.fallback_provider is None:
        return rest
    first = {"provider": row.fallback_provider}
    if row.fallback_model is not None:
        first["model"] = row.fallback_model
    return [first, *rest] if isinstance(rest, list) else rest


def _with_names(values: dict[str, Any], model_at: ModelAt, found: list[Finding]) -> dict[str, Any]:
    """Return the values with every model's name as it is at its provider."""

    def named(provider: Any, model: Any, at: tuple[str | int, ...]) -> Any:
        if not isinstance(model, str) or not isinstance(provider, (str, type(None))):
            return model
        name = model_at(provider, model)
        what = model_problem(model)
        if what is not None or name is None:
            found.append((at, what or "no such model may be named at this provider"))
        return name

    if "model" in values:
        values = values | {"model": named(values.get("provider"), values["model"], ("model_name",))}
    fallback = values.get("fallback")
    if isinstance(fallback, list):
        targets = [
            {**each, "model": named(each.get("provider"), each["model"], ("fallback", index))}
            if isinstance(each, Mapping) and "model" in each
            else each
            for index, each in enumerate(fallback)
        ]
        values = values | {"fallback": targets}
    return values


def _renamed(found: Finding) -> Finding:
    path, what = found
    return ((_COLUMNS.get(str(path[0]), path[0]), *path[1:]) if path else path), what
