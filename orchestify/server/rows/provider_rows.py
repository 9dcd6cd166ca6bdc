"""A provider's row read into its configuration, and what each `provider_type` stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import SecretStr

from orchestify.core.addresses import AddressRule, address_problem
from orchestify.core.error_messages import Finding, validated
from orchestify.core.policies import Policies
from orchestify.core.problems import KeyPath, did_you_mean
from orchestify.core.provider_types import PROVIDER_TYPES, ProviderType
from orchestify.core.providers import AlreadySubstituted, ProviderConfig
from orchestify.errors import ConfigError
from orchestify.lanes.litellm.guard import LiteLLMGuard, litellm_problem
from orchestify.server.rows.input_rules import (
    NAME,
    cache_problems,
    header_problems,
    model_problem,
    option_problems,
    size_problem,
    value_problems,
)
from orchestify.server.rows.stored_rows import ProviderRow

OpenKey = Callable[[str], SecretStr]

CONFIG_KEYS = (
    *("base_url", "api", "default_model", "models", "max_tokens", "options", "headers", "price"),
    *Policies.model_fields,
)
"""What a provider's `config` may say."""

MOST_MODELS = 200
_THE_OPERATORS = ("headers", "price", "rate_limit")
"""What goes with the key: who calls with the operator's is bound by the operator's."""
_TIER = "service_tier"  # an option that goes with the key as well: it is a price


class RowProvider(NamedTuple):
    """A provider made from a row.

    `models` are those the row lists beside its default. `inherits` says that key and address are
    the operator's; otherwise strangers wrote all of it.
    """

    config: ProviderConfig
    models: tuple[str, ...]
    inherits: bool


def row_provider(
    row: ProviderRow, namesake: ProviderConfig | None, rule: AddressRule, open_key: OpenKey
) -> tuple[RowProvider | None, list[Finding]]:
    """Return the provider that a row describes, or all that is wrong with it.

    A row without a key inherits all of its `namesake`, the operator's provider of that name,
    where that is of the row's type and the row sets no base_url; any other row inherits nothing.

    Raises:
        VaultError: its key cannot be opened.
    """
    found = list(_row_problems(row))
    kind = PROVIDER_TYPES.get(row.provider_type) if isinstance(row.provider_type, str) else None
    if kind is None or size_problem(row.config) is not None:
        return None, found
    key = None if row.encrypted_api_key is None else open_key(row.encrypted_api_key)
    said = {name: value for name, value in row.config.items() if value is not None}
    wrong_at = {path[0] for path, _ in found if path}
    given = {name: value for name, value in said.items() if name not in wrong_at}
    heir = inherited_provider(row, namesake)
    found += _missing(kind, said, key) if heir is None else _operator_only(given)
    models = tuple(map(kind.full, given.pop("models", ())))
    values = _values(kind, _with_prefix(kind, given), key, heir)
    config, wrong = validated(
        ProviderConfig, values | {"enabled": row.is_active}, AlreadySubstituted()
    )
    found += [each for each in wrong if not each[0] or each[0][0] not in wrong_at]
    if config is None:
        address = given.get("base_url")
        what = address_problem(address) if isinstance(address, str) else None
        return None, found if what is None else [*found, (("base_url",), what)]
    found += [] if heir is not None else _address_problems(row.name, config, rule)
    return (None if found else RowProvider(config, models, heir is not None)), found


def inherited_provider(row: ProviderRow, namesake: ProviderConfig | None) -> ProviderConfig | None:
    """Return the operator's provider that a row inherits, or None; see `row_provider`."""
    kind = PROVIDER_TYPES.get(row.provider_type)
    is_bare = row.encrypted_api_key is None and row.config.get("base_url") is None
    if kind is None or namesake is None or not is_bare:
        return None
    return namesake if namesake.is_enabled and _is_same_place(kind, namesake) else None


def prefix_of(config: ProviderConfig) -> str | None:
    """Return what every model at a provider begins with: "" where nothing; None: nobody knows.

    None is an operator's `litellm` provider whose default model has no prefix: with one, a model
    would go to another backend.
    """
    if config.type != "litellm" or config.engine == "mock":
        return ""
    prefix, slash, _ = (config.default_model or "").partition("/")
    return f"{prefix}/" if slash else None


def _is_same_place(kind: ProviderType, config: ProviderConfig) -> bool:
    """Say whether an operator's provider is of a row's type, and where that type is."""
    if kind.prefix:
        return config.type == "litellm" and (config.default_model or "").startswith(kind.prefix)
    here = kind.base_url is None or _plain(kind.base_url) == _plain(config.base_url or "")
    return config.type == kind.lane and here


def _plain(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1").lower()


def _row_problems(row: ProviderRow) -> Iterator[Finding]:
    if not isinstance(row.name, str) or not NAME.fullmatch(row.name):
        yield ("name",), "expected at most 63 letters, digits and . _ -, a letter or digit first"
    if not isinstance(row.provider_type, str) or row.provider_type not in PROVIDER_TYPES:
        hint = did_you_mean(row.provider_type, PROVIDER_TYPES)
        yield ("provider_type",), f"expected one of {', '.join(PROVIDER_TYPES)}{hint}"
    yield from config_problems(row.config, CONFIG_KEYS)
    options, headers = row.config.get("options"), row.config.get("headers")
    if isinstance(options, Mapping):
        yield from option_problems(options, ("options",))
    if isinstance(headers, Mapping):
        yield from header_problems(headers, ("headers",))
    yield from _model_problems(row.config)


def config_problems(
    config: Mapping[str, Any], keys: tuple[str, ...], plain: tuple[str, ...] = ()
) -> Iterator[Finding]:
    """Iterate what is wrong with a row's `config`, whatever its fields mean."""
    size = size_problem(config)
    if size is not None:
        yield ("config",), size
        return
    for name in config:
        if name not in keys:
            hint = did_you_mean(name, keys)
            yield (name,), f"unknown key{hint or '; there are: ' + ', '.join(keys)}"
    yield from value_problems(config, plain=plain)
    yield from cache_problems(config)


def _model_problems(config: Mapping[str, Any]) -> Iterator[Finding]:
    models = config.get("models")
    if models is not None and not (
        isinstance(models, (list, tuple))
        and len(models) <= MOST_MODELS
        and all(isinstance(each, str) for each in models)
    ):
        yield ("models",), f"expected a list of at most {MOST_MODELS} names"
        models = None
    places: list[tuple[KeyPath, Any]] = [(("default_model",), config.get("default_model"))]
    places += [(("models", index), model) for index, model in enumerate(models or ())]
    for at, model in places:
        what = model_problem(model) if isinstance(model, str) else None
        if what is not None:
            yield at, what


def _missing(kind: ProviderType, given: Mapping[str, Any], key: SecretStr | None) -> list[Finding]:
    has_url = "base_url" in given
    # an address of the tenant's own may want no key, as vLLM's does
    there = {"base_url": has_url, "api_key": key is not None or (has_url and not kind.prefix)}
    return [((name,), "missing") for name in kind.wants if not there[name]]


def _operator_only(given: Mapping[str, Any]) -> list[Finding]:
    what = "comes with the operator's key; give an api_key of your own to set it"
    found: list[Finding] = [((name,), what) for name in _THE_OPERATORS if name in given]
    options = given.get("options")
    if isinstance(options, Mapping) and _TIER in options:
        found.append((("options", _TIER), what))
    return found


def _with_prefix(kind: ProviderType, given: dict[str, Any]) -> dict[str, Any]:
    """Put LiteLLM's prefix before each model that the row names."""
    model, price = given.get("default_model"), given.get("price")
    if isinstance(model, str):
        given = given | {"default_model": kind.full(model)}
    if isinstance(price, Mapping) and any(isinstance(each, Mapping) for each in price.values()):
        given = given | {"price": {kind.full(name): each for name, each in price.items()}}
    return given


def _values(
    kind: ProviderType, given: dict[str, Any], key: SecretStr | None, heir: ProviderConfig | None
) -> dict[str, Any]:
    if heir is not None:
        theirs = {name: getattr(heir, name) for name in heir.model_fields_set}
        options = given.get("options", {})
        if isinstance(options, Mapping):
            given = given | {"options": {**heir.options, **options}}
        return theirs | given
    defaults = {"default_model": kind.model, "base_url": kind.base_url, "api_key": key}
    own = {name: value for name, value in defaults.items() if value is not None}
    return {"type": kind.lane, **own, **given}


def _address_problems(name: str, config: ProviderConfig, rule: AddressRule) -> list[Finding]:
    """Say what the rule has against the address, and LiteLLM's guard against the options."""
    if config.type != "litellm":
        what = None if config.base_url is None else rule.problem(config.base_url)
        return [] if what is None else [(("base_url",), what)]
    what = litellm_problem(config, rule)
    if what is not None:
        return [(("base_url",), what)]
    try:
        LiteLLMGuard.of(name, config, rule)
    except ConfigError as error:
        return [((), each.removeprefix(f"providers.{name}.")) for each in error.problems]
    return []
