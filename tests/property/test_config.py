"""Any document gives a Config or a ConfigError, quickly, and no error shows a value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from orchestify.core.config import Config, ConfigError, ProviderConfig, parse_config
from orchestify.core.yaml_reader import compose

SECRET = "sk-planted-0123456789"
ENVIRON = {"SET": "value", "NUMBER": "3", "SECRET": SECRET}

NAMES = """
providers agents p q a type engine api_key default_model model provider max_tokens base_url enabled
options headers price allow_http temperature top_p stop thinking fallback metadata retry
max_attempts first_delay_s max_delay_s circuit_breaker rate_limit timeout_s budgets name match label
limit_usd period alert_at ledger url alerts default_provider x-host typo budget_tokens
input_usd_per_mtok
"""
WORDS = """
openai mock auto p q high day https://h/v1 http://h http://[ ${SET} ${NUMBER} ${GONE} ${GONE:-3}
$<SET> env:NUMBER ${ $${ vault:a
"""
KEYS = st.sampled_from(NAMES.split())
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([*WORDS.split(), SECRET]),
)
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)
DOCUMENTS = st.fixed_dictionaries(
    {"providers": st.dictionaries(KEYS, st.dictionaries(KEYS, DATA, max_size=6), max_size=3)},
    optional={"agents": st.dictionaries(KEYS, st.dictionaries(KEYS, DATA, max_size=6), max_size=3)},
)
YAML_TEXT = st.text(alphabet="ab:-?,[]{}&*!|>'\"%@`#$<>~ \n\t0.\0\ufeff\u2028é", max_size=60)

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def outcome(text: str) -> Config | str:
    try:
        return parse_config(text, environ=ENVIRON)
    except ConfigError as error:
        return str(error)


def shown(values: dict[str, Any]) -> str:
    try:
        provider = ProviderConfig.model_validate(values)
    except ConfigError as error:
        return str(error)
    kept = {"api_key", "options", "headers"}
    return f"{provider.api_key!r} {provider.model_dump_json(include=kept)}"


@quick
@given(st.text() | YAML_TEXT)
def test_any_text_gives_a_config_or_problems(text: str) -> None:
    assert outcome(text)


@quick
@given(YAML_TEXT)
def test_any_yaml_is_read_or_refused_at_a_place(text: str) -> None:
    document = compose(text, "c.yaml")
    assert document.is_whole or document.problems


@quick
@given(DATA)
def test_any_data_gives_a_config_or_problems(value: Any) -> None:
    assert outcome(json.dumps(value))


@quick
@given(DOCUMENTS, st.dictionaries(KEYS, DATA, max_size=4))
def test_any_keys_with_any_values_give_a_config_or_problems(
    document: dict[str, Any], top: dict[str, Any]
) -> None:
    assert outcome(json.dumps({**top, **document}))


@quick
@given(DOCUMENTS, KEYS, KEYS, KEYS, st.sampled_from([SECRET, "${SECRET}", [SECRET], {"k": SECRET}]))
def test_no_problem_shows_a_secret(
    document: dict[str, Any], top: str, name: str, key: str, planted: Any
) -> None:
    entry = {"type": "openai", key: planted, "broken": True}
    planted_document = {**document, top: {name: entry}}
    assert SECRET not in str(outcome(json.dumps(planted_document)))


@quick
@given(YAML_TEXT, YAML_TEXT)
def test_no_syntax_problem_shows_a_secret(before: str, after: str) -> None:
    problems = compose(f"{before}{SECRET}{after}", "c.yaml").problems
    assert not any(SECRET in problem.what for problem in problems)


@quick
@given(st.dictionaries(KEYS, DATA, max_size=6))
def test_provider_built_in_code_shows_no_secret(values: dict[str, Any]) -> None:
    assert SECRET not in shown({"type": "mock", "api_key": SECRET, **values})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "? " * 1_000_000,
        "providers: &p {p: *p}",
        "a: 1\n" * 2_500_000,
        "a: 1\n" * 790_000,
        "%TAG !a! tag:x,2000:\n" * 180_000,
        "a: 1\n...\n" + "%TAG !a! tag:x,2000:\n" * 180_000,
        "providers: {p: {type: mock, max_tokens: " + "9" * 3_900_000 + "}}",
        "providers: {p: {type: mock, default_model: '" + "${A:-" * 700_000 + "'}}",
        "x: &a x\nproviders: [" + "*a, " * 900_000 + "]",
    ],
)
def test_hostile_document_is_refused_at_once(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(text, environ={})


def test_billion_laughs_are_refused_at_once() -> None:
    lines = ["x-0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ConfigError, match="aliases expand to more than 10,000 nodes"):
        parse_config("\n".join(lines), environ={})
