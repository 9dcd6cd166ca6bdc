"""Whatever comes over REST: it makes a configuration or is refused, and stays what it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings, strategies as st

from orchestify.core.provider_types import PROVIDER_TYPES
from orchestify.errors import ConfigError
from orchestify.server.rows import agent_rows, provider_rows
from tests.unit.server.test_rest_rows import agent, house, made, row

BASE = house()
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["${HOME}", "env:HOME", "openai", "cloud", "gpt-5.1", "https://llm.example.com"]
    ),
)
COLUMNS = (
    *("agent_id", "provider", "model_name", "temperature", "max_tokens", "top_p"),
    *("fallback_provider", "fallback_model"),
    *("cost_per_1k_input_tokens", "cost_per_1k_output_tokens"),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


def configs(keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.one_of(st.sampled_from(keys), TEXTS), VALUES, max_size=5)


def told(*rows: Any) -> str:
    """What is said of the rows; nothing else than problems may come of them."""
    try:
        made(*rows, base=BASE)
    except ConfigError as error:
        return "refused" if error.problems else "refused for no reason"
    return "made"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(PROVIDER_TYPES)), configs(provider_rows.CONFIG_KEYS), st.booleans())
def test_a_provider_is_made_or_refused(kind: str, config: dict[str, Any], has_key: bool) -> None:
    before = repr(config)
    given = replace(row("openai", kind, "k" if has_key else None), config=config)
    assert told(given) in {"made", "refused"}
    assert repr(config) == before


@settings(max_examples=200, deadline=None)
@given(
    configs(agent_rows.CONFIG_KEYS),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(COLUMNS, SCALARS),
    ),
)
def test_an_agent_is_made_or_refused(config: dict[str, Any], columns: dict[str, Any]) -> None:
    given = agent(**{"provider": "openai", **columns, "config": config})
    assert told(row(), given) in {"made", "refused"}
