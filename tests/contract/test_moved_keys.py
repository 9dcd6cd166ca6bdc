"""A stored key goes to no other address unless it is given again, whatever is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from pydantic import SecretStr

from orchestify.core.config import Config
from orchestify.errors import ConfigError, ConflictError
from orchestify.server.storage.store import Store
from tests.tenants import CIPHER, LOOPBACK, TEST, agent, operators, provider, service_database

A, B = "https://a.example.com/v1", "https://b.example.com/v1"
OPERATORS = operators(
    providers={
        "house": {"type": "openai", "api_key": "k", "default_model": "m"},
        "near": {"type": "openai", "base_url": A, "api_key": "k", "default_model": "m"},
        "cloud": {"type": "litellm", "api_key": "k", "default_model": "gemini/flash"},
    },
    agents={"clerk": {"provider": "cloud", "model": "groq/llama"}},
    default_provider="house",
)
NO_DEFAULT = operators(
    providers={"house": {"type": "openai", "api_key": "k", "default_model": "m"}}
)


class Case(NamedTuple):
    """A change to one row, and whether it is refused."""

    what: str
    rows: tuple[Any, ...]
    at: str
    change: Mapping[str, Any] | Literal["remove"] | Any
    refused: str = ""
    base: Config = OPERATORS


OWN = provider(key="sk", name="own", base_url=A, default_model="m")
OTHER = provider(key="sk", name="other", base_url=B, default_model="m")
TWIN = provider(key="sk", name="twin", base_url=A + "/", default_model="m")
OFF = provider(key="sk", name="own", base_url=A, default_model="m", is_active=False)
BARE = provider(name="house")
GROQ = provider("groq", key="sk", name="own")
AZURE = provider(
    "azure", key="sk", name="own", base_url="https://x.openai.azure.com", default_model="d"
)
KEYED = agent("planner", key="sk", provider="own")
KEYED_OFF = agent("planner", key="sk", provider="own", enabled=False)
AT_HOUSE = agent("planner", key="sk", provider="house")
AT_CLOUD = agent("planner", key="sk", provider="cloud")
AT_DEFAULT = agent("planner", key="sk")
DEFAULT = provider(key="sk", name="own", base_url=A, default_model="m", is_default=True)
PLAIN = agent("planner", provider="own")
NEW = SecretStr("sk-new")
AT_A, AT_B = ({"base_url": each, "default_model": "m"} for each in (A, B))
AGAIN, FIRST = "send the api_key again, or null", "set its api_key to null first"

# fmt: off
CASES = (
    # a provider's own key
    Case("another base_url", (OWN,), "own", {"config": AT_B}, AGAIN),
    Case("another base_url while it is off", (OFF,), "own", {"config": AT_B}, AGAIN),
    Case("another base_url, switched off at once", (OWN,), "own",
         {"config": AT_B, "is_active": False}, AGAIN),
    Case("another path", (OWN,), "own",
         {"config": {**AT_A, "base_url": "https://a.example.com/v2"}}, AGAIN),
    Case("plain http", (OWN,), "own",
         {"config": {**AT_A, "base_url": "http://127.0.0.1/v1"}}, AGAIN),
    Case("no base_url", (OWN,), "own", {"config": {"default_model": "m"}}, AGAIN),
    Case("base_url null", (OWN,), "own",
         {"config": {"base_url": None, "default_model": "m"}}, AGAIN),
    Case("a first base_url", (GROQ,), "own", {"config": {"base_url": B}}, AGAIN),
    Case("another type", (GROQ,), "own", {"provider_type": "xai"}, AGAIN),
    Case("another protocol at the same address", (OWN,), "own",
         {"provider_type": "anthropic"}, AGAIN),
    Case("another resource of Azure's", (AZURE,), "own",
         {"config": {"base_url": "https://y.openai.azure.com", "default_model": "d"}}, AGAIN),
    Case("the name of an operator's provider elsewhere", (OWN,), "own",
         {"name": "house", "config": {"default_model": "m"}}, AGAIN),
    Case("another base_url and its key", (OWN,), "own", {"config": AT_B, "api_key": NEW}),
    Case("another base_url and no key any more", (OWN,), "own",
         {"config": AT_B, "api_key": None}),
    Case("a slash at the end", (OWN,), "own", {"config": {**AT_A, "base_url": A + "/"}}),
    Case("other headers, options and models", (OWN,), "own", {"config": {
        **AT_A, "headers": {"openai-organization": "o"}, "options": {"seed": 1}, "models": ["n"]}}),
    Case("another name", (OWN,), "own", {"name": "house"}),
    Case("off", (OWN,), "own", {"is_active": False}),
    Case("on", (OFF,), "own", {"is_active": True}),
    Case("removed", (OWN,), "own", "remove"),
    # an agent's own key, by the agent
    Case("an agent's other provider", (OWN, OTHER, KEYED), "planner",
         {"provider": "other"}, AGAIN),
    Case("an agent's other provider while it is off", (OWN, OTHER, KEYED_OFF), "planner",
         {"provider": "other"}, AGAIN),
    Case("an agent without a provider", (OWN, KEYED), "planner", {"provider": None}, AGAIN),
    Case("an agent's other backend", (AT_CLOUD,), "planner", {"model_name": "groq/llama"}, AGAIN),
    Case("an agent's other backend as a fallback", (AT_CLOUD,), "planner",
         {"fallback_provider": "cloud", "fallback_model": "groq/llama"}, AGAIN),
    Case("an agent's other backend in its config", (AT_CLOUD,), "planner",
         {"config": {"fallback": [{"provider": "cloud", "model": "groq/llama"}]}}, AGAIN),
    Case("an agent's other provider and its key", (OWN, OTHER, KEYED), "planner",
         {"provider": "other", "api_key": NEW}),
    Case("an agent's other provider and no key any more", (OWN, OTHER, KEYED), "planner",
         {"provider": "other", "api_key": None}),
    Case("an agent's other provider at the same address", (OWN, TWIN, KEYED), "planner",
         {"provider": "twin"}),
    Case("an agent's fallback, which its key does not go to", (OWN, OTHER, KEYED), "planner",
         {"fallback_provider": "other"}),
    Case("an agent's other model at its backend", (AT_CLOUD,), "planner",
         {"model_name": "gemini/pro"}),
    Case("an agent's other name", (OWN, KEYED), "planner", {"agent_id": "writer"}),
    Case("an agent switched on", (OWN, KEYED_OFF), "planner", {"enabled": True}),
    # an agent's own key, by its provider
    Case("the provider's other base_url", (OWN, KEYED), "own",
         {"config": AT_B, "api_key": NEW}, FIRST),
    Case("the provider's other base_url, an agent that is off", (OWN, KEYED_OFF), "own",
         {"config": AT_B, "api_key": NEW}, FIRST),
    Case("another provider in its place", (AT_HOUSE,), "",
         provider(key="sk", name="house", base_url=B, default_model="m"), FIRST),
    Case("the operator's provider again", (
        provider(key="sk", name="house", base_url=B, default_model="m"), AT_HOUSE),
         "house", "remove", "agent planner uses it"),
    Case("another takes the name", (OWN, OTHER, KEYED_OFF), "own", {"name": "house"}),
    Case("the default is switched off", (DEFAULT, AT_DEFAULT), "own",
         {"is_active": False}, FIRST),
    Case("the default is no more", (DEFAULT, AT_DEFAULT), "own", {"is_default": False}, FIRST),
    Case("another default", (DEFAULT, OTHER, AT_DEFAULT), "other", {"is_default": True}, FIRST),
    Case("a first default", (OWN, AT_DEFAULT), "own", {"is_default": True}, FIRST),
    Case("a new default", (AT_DEFAULT,), "",
         provider(key="sk", name="n", base_url=B, default_model="m", is_default=True), FIRST),
    Case("the default off, without another", (
        DEFAULT, agent("planner", key="sk", enabled=False)), "own", {"is_active": False},
         base=NO_DEFAULT),
    Case("a row that inherits in its place", (AT_HOUSE,), "", BARE),
    Case("the operator's for one that inherits", (BARE, AT_HOUSE), "house", "remove"),
    Case("the row that inherits has a base_url", (BARE, AT_HOUSE), "house",
         {"config": AT_B, "api_key": NEW}, FIRST),
    Case("the provider's other base_url, an agent without a key", (OWN, PLAIN), "own",
         {"config": AT_B, "api_key": NEW}),
    Case("an agent's provider removed while it is off", (OWN, KEYED_OFF), "own", "remove"),
)
# fmt: on


@pytest.fixture
def store_of(tmp_path: Path) -> Iterator[Callable[[Config], Store]]:
    with service_database(f"sqlite:///{tmp_path}/service.db") as database:
        yield lambda base: Store(database, base, CIPHER, LOOPBACK)


def added(store: Store, row: Any) -> tuple[str, str]:
    if hasattr(row, "agent_id"):
        return row.agent_id, store.agents.add("acme", row, TEST).id
    return row.name, store.providers.add("acme", row, TEST).id


def change(store: Store, ids: Mapping[str, str], case: Case) -> None:
    if not case.at:
        added(store, case.change)
    elif case.change == "remove":
        store.providers.remove("acme", ids[case.at], TEST)
    elif case.at == "planner":
        store.agents.update("acme", ids[case.at], case.change, TEST)
    else:
        store.providers.update("acme", ids[case.at], case.change, TEST)


def outcome(store: Store, ids: Mapping[str, str], case: Case) -> list[str]:
    try:
        change(store, ids, case)
    except ConfigError as error:
        return list(error.problems)
    except ConflictError as error:
        return [str(error)]
    return []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_key_stays_where_it_was_given_for(
    case: Case, store_of: Callable[[Config], Store]
) -> None:
    store = store_of(case.base)
    ids = dict(added(store, row) for row in case.rows)
    before = store.snapshot("acme")
    problems = outcome(store, ids, case)
    assert [case.refused in each for each in problems] == [True] * bool(case.refused)
    assert (store.snapshot("acme") == before) == bool(case.refused)


def test_a_key_that_has_no_place_any_more_gets_no_other(
    store_of: Callable[[Config], Store],
) -> None:
    store = store_of(OPERATORS)
    ids = dict(added(store, row) for row in (OWN, KEYED_OFF))
    store.providers.remove("acme", ids["own"], TEST)
    with pytest.raises(ConfigError, match="set its api_key to null first"):
        store.providers.add(
            "acme", provider(key="sk", name="own", base_url=B, default_model="m"), TEST
        )
    store.agents.update("acme", ids["planner"], {"api_key": None}, TEST)
    store.providers.add("acme", OWN, TEST)


def test_a_default_that_is_off_is_the_default_again(store_of: Callable[[Config], Store]) -> None:
    store = store_of(NO_DEFAULT)
    ids = dict(added(store, row) for row in (DEFAULT, agent("planner", key="sk", enabled=False)))
    store.providers.update("acme", ids["own"], {"is_active": False}, TEST)
    store.providers.update("acme", ids["own"], {"is_active": True}, TEST)
    assert store.providers.one("acme", ids["own"]).is_active


def test_a_removed_row_comes_back_without_its_key(store_of: Callable[[Config], Store]) -> None:
    store = store_of(OPERATORS)
    ids = dict([added(store, OWN)])
    store.providers.remove("acme", ids["own"], TEST)
    changes = {"is_active": True, "config": AT_B}
    assert store.providers.update("acme", ids["own"], changes, TEST).encrypted_api_key is None
