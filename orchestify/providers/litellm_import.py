"""The configuration that `orchestify init --from` makes of a LiteLLM Router's or proxy's.

A deployment of `model_list` becomes a provider (those of one account share one), a model group an
agent whose chain is its deployments and then those of its fallbacks. What has no counterpart is
told, and stands as a comment where it would have gone. Source: LiteLLM's documentation of 1.110,
"All settings", "Load balancing" and "Fallbacks".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn, get_args

import yaml

from orchestify.core.agents import ThinkingWord
from orchestify.core.problems import KeyPath, Problem
from orchestify.core.provider_types import COMPANIES, PROVIDER_TYPES
from orchestify.core.yaml_reader import compose
from orchestify.errors import ConfigError
from orchestify.policy.budget import Period
from orchestify.providers.environment import ENV_PROVIDERS

_DIRECT = {"openai": "openai", "anthropic": "anthropic"} | {
    {"together": "together_ai"}.get(name, name): name
    for name, kind in COMPANIES.items()
    if kind.lane == "openai"
}
"""The types that go directly, by LiteLLM's prefix."""

_KEY_VARIABLES = {row.name: row.needs[0][0] for row in ENV_PROVIDERS if "api_key" in row.values} | {
    "azure": "AZURE_API_KEY",
    "together_ai": "TOGETHERAI_API_KEY",
}
_PRICES = {
    "input_cost_per_token": "input_usd_per_mtok",
    "output_cost_per_token": "output_usd_per_mtok",
    "cache_read_input_token_cost": "cache_read_usd_per_mtok",
    "cache_creation_input_token_cost": "cache_write_usd_per_mtok",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h_usd_per_mtok",
}
_LIMITS = {
    "rpm": "requests_per_minute",
    "tpm": "tokens_per_minute",
    "max_parallel_requests": "concurrency",
}
_TIMES = {"timeout": "attempt_timeout_s", "stream_timeout": "first_output_timeout_s"}
_OF_AGENTS = ("temperature", "top_p", "stop", "max_tokens")
_IN_BODY = ("frequency_penalty", "logit_bias", "parallel_tool_calls", "presence_penalty", "seed")
_NUMBERS = ("max_tokens", "temperature", "top_p", "weight", *_LIMITS, *_TIMES)
_READ = frozenset(
    {"api_base", "api_key", "base_url", "extra_headers", "headers", "litellm_credential_name"}
    | {"max_retries", "model", "num_retries", "organization", "reasoning_effort", "weight"}
    | {*_PRICES, *_LIMITS, *_TIMES, *_OF_AGENTS}
)
_LITELLMS_OWN = frozenset(
    {"custom_llm_provider", "drop_params", "max_budget", "budget_duration", "mock_response"}
    | {"order", "tags", "use_in_pass_through", "use_litellm_proxy"}
)
_PERIODS = {"1h": "hour", "7d": "week", "24h": "day", "1d": "day", "30d": "month", "1mo": "month"}
_OPENAIS = re.compile(r"gpt-|chatgpt-|o\d|ft:gpt-|text-embedding-")
_REFERENCE = re.compile(r"os\.environ/(\w+)")
_SECRET = re.compile(r"key|token|secret|password|credential|authorization", re.IGNORECASE)

_CALLBACKS = "use registry.on(...), the metrics or the ledger"
_HINTS = {
    "cache": "there is no cache of answers; `cache: true` of an agent is prompt caching",
    "callbacks": _CALLBACKS,
    "context_window_fallbacks": "`fallback_on: [invalid_request]` goes on with what is too long",
    "drop_params": "what a provider refuses is left out by itself, and told",
    "environment_variables": "set them in the environment",
    "failure_callback": _CALLBACKS,
    "general_settings": "the service has options of its own: `orchestify serve --help`",
    "include": "give the files one at a time",
    "success_callback": _CALLBACKS,
}


class Conversion(NamedTuple):
    """Files by name, and what of the other configuration they do not hold, a line each."""

    files: dict[str, str]
    notes: tuple[str, ...]


def convert(text: str, name: str) -> Conversion:
    """Make our configuration of LiteLLM's; `name` is the file's name in what is told.

    Keys that stand in the text are not copied: a variable takes their place, and is told.

    Raises:
        ConfigError: it is no YAML, or no configuration of LiteLLM.
    """
    document = compose(text, name)
    if document.problems:
        raise ConfigError([str(problem) for problem in document.problems])
    return _Import(name, document.data, document.places).convert()


@dataclass
class _Group:
    """Deployments that share a name: provider, model, and the share of calls each gets."""

    targets: list[tuple[str, str, float]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    fallbacks: list[str] = field(default_factory=list)
    on: list[str] = field(default_factory=list)


class _Import:
    """One configuration while it is read."""

    def __init__(self, name: str, data: Any, places: Any) -> None:
        self._name = name
        self._data = data
        self._places = places
        self._notes: list[str] = []
        self._comments: dict[KeyPath, list[str]] = {}
        self._providers: dict[str, dict[str, Any]] = {}
        self._groups: dict[str, _Group] = {}
        self._credentials: dict[str, Mapping[str, Any]] = {}
        self._variables: dict[str, str] = {}  # by the secret whose place one takes
        self._aliases: dict[str, dict[str, str]] = {}

    def convert(self) -> Conversion:
        sections = self._mapping(self._data, ())
        if not isinstance(sections.get("model_list"), list):
            self._refuse((), "expected a configuration of LiteLLM, with a model_list")
        for index, each in enumerate(self._listed(sections.get("credential_list"))):
            path: KeyPath = ("credential_list", index)
            values = self._mapping(each, path)
            held = self._mapping(values.get("credential_values"), (*path, "credential_values"))
            self._credentials[str(values.get("credential_name"))] = held
        problems: list[str] = []
        for index, each in enumerate(sections["model_list"]):
            try:
                self._add_deployment(each, ("model_list", index))
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        policies = self._policies(sections)
        agents = {name: self._agent(group) for name, group in self._groups.items()}
        files = {
            "providers.yaml": self._section("providers", self._providers),
            "agents.yaml": self._section("agents", agents),
            "policies.yaml": self._text([((), policies)]),
        }
        return Conversion(files, tuple(self._notes))

    # Deployments

    def _add_deployment(self, deployment: object, path: KeyPath) -> None:
        values = self._mapping(deployment, path)
        inside = (*path, "litellm_params")
        given = self._mapping(values.get("litellm_params"), inside)
        info = self._mapping(values.get("model_info"), (*path, "model_info"))
        given |= {key: values[key] for key in ("rpm", "tpm") if key in values}
        given |= {key: info[key] for key in _PRICES if key in info and key not in given}
        given = dict(self._credentials.get(str(given.get("litellm_credential_name")), {})) | given
        given |= {key: _number(given[key]) for key in _NUMBERS if key in given}
        group, full = values.get("model_name"), given.get("model")
        if not (isinstance(group, str) and isinstance(full, str) and group and full):
            self._refuse(path, "expected a model_name, and litellm_params with a model")
        backend, model = _backend(full)
        made = self._provider(backend, model, given, inside)
        if "*" in made["default_model"]:
            told = "a provider of type litellm has a model to ask by default; write one by hand"
            self._tell((*inside, "model"), told)
            return
        name = self._account(backend, made)
        # What was told of this deployment before its provider had a name.
        self._comments.setdefault(("providers", name), []).extend(self._comments.pop((), []))
        for key in given:
            if key not in _READ and (key in _LITELLMS_OWN or key not in made.get("options", ())):
                self._tell((*inside, key), at=("providers", name))
        mode = info.get("mode", "chat")
        if "*" in group + model:
            told = f"a pattern is no agent; a call names {name}/MODEL"
            if group != f"{name}/*" and group.find("*") == len(group) - 1 and model.count("*") < 2:
                self._aliases[group] = {"provider": name, "model": model}
                told += f", or an alias as {group} has it, by `get_for_model`"
            self._tell((*path, "model_name"), told, ("providers", name))
        elif mode not in ("chat", "completion", "responses"):
            told = "a model that does not chat is no agent; its provider is there"
            self._tell((*path, "model_info", "mode"), told, ("providers", name))
        else:
            weight = next((given[key] for key in ("weight", "rpm", "tpm") if key in given), 1)
            self._add_target(group, (name, model, weight), given, inside)

    def _provider(
        self, backend: str, model: str, given: Mapping[str, Any], path: KeyPath
    ) -> dict[str, Any]:
        kind = _DIRECT.get(backend, "litellm")
        made: dict[str, Any] = {"type": kind}
        address = given.get("api_base", given.get("base_url"))
        key = given.get("api_key")
        if key is None and (variable := _KEY_VARIABLES.get(backend)) and address is None:
            key = f"os.environ/{variable}"
        if key is not None:
            made["api_key"] = self._without_secret("api_key", key, (*path, "api_key"), backend)
        pattern = "*" in model
        default = PROVIDER_TYPES[kind].model if pattern and kind in PROVIDER_TYPES else None
        made["default_model"] = default or model
        if address is not None:
            made["base_url"] = address
        headers = self._mapping(given.get("headers"), (*path, "headers"))
        headers |= self._mapping(given.get("extra_headers"), (*path, "extra_headers"))
        if given.get("organization"):
            headers["OpenAI-Organization"] = given["organization"]
        made["headers"] = {
            key: self._without_secret(key, value, (*path, "extra_headers", key), backend)
            for key, value in headers.items()
        }
        made["options"] = {
            key: self._without_secret(key, value, (*path, key), backend)
            for key, value in given.items()
            if key not in _READ | _LITELLMS_OWN and (kind == "litellm" or key in _IN_BODY)
        }
        made["rate_limit"] = {_LIMITS[key]: given[key] for key in _LIMITS if key in given}
        made |= {_TIMES[key]: given[key] for key in _TIMES if key in given}
        made |= _retry(given.get("num_retries", given.get("max_retries")))
        price = {ours: _per_mtok(given[key]) for key, ours in _PRICES.items() if key in given}
        made["price"] = {model: price} if price else {}
        return {key: value for key, value in made.items() if value not in ({}, None)}

    def _account(self, backend: str, made: dict[str, Any]) -> str:
        """Return the name of the provider that holds a deployment, a new one where none fits."""
        by_model = ("default_model", "price")
        shared = {key: value for key, value in made.items() if key not in by_model}
        for name, known in self._providers.items():
            if shared == {key: known[key] for key in known if key not in by_model}:
                if "price" in made:
                    known["price"] = known.get("price", {}) | made["price"]
                return name
        base = re.sub(r"\W+", "_", backend)
        alike = sum(re.sub(r"_\d+$", "", name) == base for name in self._providers)
        name = f"{base}_{alike + 1}" if alike else base
        self._providers[name] = made
        return name

    def _add_target(
        self, name: str, target: tuple[str, str, float], given: Mapping[str, Any], path: KeyPath
    ) -> None:
        settings = {key: given[key] for key in _OF_AGENTS if key in given}
        if given.get("reasoning_effort") in get_args(ThinkingWord):
            settings["thinking"] = given["reasoning_effort"]
        group = self._groups.setdefault(name, _Group(settings=settings))
        if settings != group.settings:
            told = f"an agent has one {', '.join(sorted({*settings, *group.settings}))} for all"
            self._tell(path, told, ("agents", name))
        for index, (provider, model, weight) in enumerate(group.targets):
            if (provider, model) == target[:2]:
                group.targets[index] = (provider, model, weight + target[2])
                return
        group.targets.append(target)

    def _agent(self, group: _Group) -> dict[str, Any]:
        """Return an agent; where its deployments share the calls, its fallbacks have weight 0."""
        (provider, model, weight), *others = group.targets
        agent: dict[str, Any] = {"provider": provider, "model": model, **group.settings}
        later = [target for name in group.fallbacks for target in self._groups[name].targets]
        own = [target[:2] for target in group.targets]
        later = [
            (*target, 0)
            for target in dict.fromkeys(each[:2] for each in later)
            if target not in own
        ]
        chain: list[dict[str, Any]] = [
            {"provider": target[0], "model": target[1]} | ({"weight": target[2]} if others else {})
            for target in (*others, *later)
        ]
        if others:
            agent |= {"strategy": "weighted", "weight": weight}
        agent["fallback"] = chain
        agent["fallback_on"] = group.on
        return {key: value for key, value in agent.items() if value not in ([], None)}

    # What holds for all

    def _policies(self, sections: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, tuple[Any, KeyPath]] = {}
        for section in ("litellm_settings", "router_settings"):
            values = self._mapping(sections.get(section), (section,))
            found |= {key: (value, (section, key)) for key, value in values.items()}
        ours = ("model_list", "credential_list", "litellm_settings", "router_settings")
        for key, value in sections.items():
            if key not in ours:
                found[key] = (value, (key,))
        return self._read(found)

    def _read(self, found: dict[str, tuple[Any, KeyPath]]) -> dict[str, Any]:
        absent: tuple[Any, KeyPath] = (None, ())
        self._add_aliases(*found.pop("model_group_alias", absent))
        self._add_fallbacks(*found.pop("fallbacks", absent))
        self._add_fallbacks(*found.pop("content_policy_fallbacks", absent), on="content_filter")
        defaults, path = found.pop("default_fallbacks", absent)
        for name, group in self._groups.items():
            if not group.fallbacks:
                self._fall_back(name, self._listed(defaults), path)
        strategy, path = found.pop("routing_strategy", absent)
        if strategy not in (None, "simple-shuffle"):
            self._tell(path, "deployments of one name share the calls by weight instead")
        policies = _retry(found.pop("num_retries", absent)[0])
        for key, name in (("request_timeout", "timeout"), *zip(_TIMES, _TIMES, strict=True)):
            if key in found:
                policies[_TIMES[name]] = found.pop(key)[0]
        breaker: dict[str, Any] = {}
        if isinstance(found.get("allowed_fails", absent)[0], int):
            breaker["failures"] = found.pop("allowed_fails")[0] + 1
        if isinstance(found.get("cooldown_time", absent)[0], (int, float)):
            breaker["open_s"] = found.pop("cooldown_time")[0]
            breaker["max_open_s"] = max(breaker["open_s"], 300)
        policies |= {"circuit_breaker": breaker} if breaker else {}
        policies |= {"models": self._aliases} if self._aliases else {}
        budgets = [*self._budget(found), *self._provider_budgets(found)]
        policies |= {"budgets": budgets} if budgets else {}
        for _, path in found.values():
            self._tell(path)
        return policies

    def _add_aliases(self, aliases: Any, path: KeyPath) -> None:
        for alias, meant in self._mapping(aliases, path).items():
            name = meant.get("model") if isinstance(meant, Mapping) else meant
            if name in self._groups and alias not in self._groups:
                self._groups[alias] = self._groups[name]
            else:
                self._tell((*path, alias), "names no model_name of a chat model")

    def _add_fallbacks(self, entries: Any, path: KeyPath, on: str = "") -> None:
        for index, entry in enumerate(self._listed(entries)):
            for name, others in self._mapping(entry, (*path, index)).items():
                self._fall_back(name, self._listed(others), (*path, index, name), on)

    def _fall_back(self, name: str, others: Iterable[Any], path: KeyPath, on: str = "") -> None:
        group = self._groups.get(name)
        for other in others:
            if group is None or not isinstance(other, str) or other not in self._groups:
                lost = name if group is None else other
                self._tell(path, f"{lost!r} names no model_name of a chat model")
            elif other != name:
                group.fallbacks = list(dict.fromkeys((*group.fallbacks, other)))
                group.on = [on] if on else group.on

    def _budget(self, found: dict[str, tuple[Any, KeyPath]]) -> Iterator[dict[str, Any]]:
        if "max_budget" in found:
            limit, path = found.pop("max_budget")
            duration = found.pop("budget_duration", (None, path))[0]
            yield {"name": "all", "limit_usd": limit, "period": self._period(duration, path)}

    def _provider_budgets(self, found: dict[str, tuple[Any, KeyPath]]) -> Iterator[dict[str, Any]]:
        budgets, path = found.pop("provider_budget_config", (None, ()))
        for backend, each in self._mapping(budgets, path).items():
            names = [name for name in self._providers if re.sub(r"_\d+$", "", name) == backend]
            values = self._mapping(each, (*path, backend))
            if len(names) != 1:
                self._tell((*path, backend), "a budget matches one provider")
                continue
            period = self._period(values.get("time_period"), (*path, backend))
            limit = values.get("budget_limit", values.get("max_budget"))
            match = {"provider": names[0]}
            yield {"name": backend, "match": match, "limit_usd": limit, "period": period}

    def _period(self, duration: object, path: KeyPath) -> str:
        period = _PERIODS.get(str(duration)) if duration is not None else "ever"
        if period not in get_args(Period):
            self._tell(path, "its time has no period of ours; `ever` is written")
            return "ever"
        return str(period)

    # Reading and telling

    def _mapping(self, value: object, path: KeyPath) -> dict[str, Any]:
        """Return a mapping that may be absent."""
        if value is not None and not isinstance(value, Mapping):
            self._refuse(path, "expected a mapping")
        return {str(key): each for key, each in value.items()} if value else {}

    def _listed(self, value: object) -> list[Any]:
        """Return the items of a list, one item, or none."""
        return value if isinstance(value, list) else [] if value is None else [value]

    def _without_secret(self, name: str, value: Any, path: KeyPath, backend: str) -> Any:
        """Return a value, or a variable in place of a secret that stands in the text."""
        written = isinstance(value, str) and not _REFERENCE.fullmatch(value)
        if not (written and _SECRET.search(name)) or value in ("", "none", "None"):
            return value
        variable = _KEY_VARIABLES.get(backend, "") if name == "api_key" else ""
        variable = variable or re.sub(r"\W+", "_", f"{backend}_{name}").upper()
        if value not in self._variables:
            names = self._variables.values()
            taken = sum(name.startswith(variable) for name in names)
            self._variables[value] = f"{variable}_{taken + 1}" if taken else variable
        variable = self._variables[value]
        self._tell(path, f"not copied; put it into the variable {variable}")
        return f"os.environ/{variable}"

    def _tell(self, path: KeyPath, what: str = "", at: KeyPath = ()) -> None:
        """Note what has no counterpart; its comment goes to `at`, and () is policies.yaml."""
        what = what or _HINTS.get(str(path[-1]), "has no counterpart")
        line = str(self._problem(path, what))
        self._notes.append(line)
        self._comments.setdefault(at, []).append(line)

    def _refuse(self, path: KeyPath, what: str) -> NoReturn:
        raise ConfigError(str(self._problem(path, what)))

    def _problem(self, path: KeyPath, what: str) -> Problem:
        line, column, places = 0, 0, self._places
        for part in path:
            if part not in places:
                break
            line, column, places = places[part]
        return Problem(self._name, path, what, line, column)

    # Writing

    def _section(self, key: str, entries: Mapping[str, Any]) -> str:
        text = self._text([((key, name), {name: entry}) for name, entry in entries.items()])
        indented = "".join(f"  {line}" if line.strip() else line for line in text.splitlines(True))
        return f"{key}:\n{indented}"

    def _text(self, blocks: Iterable[tuple[KeyPath, Mapping[str, Any]]]) -> str:
        written = []
        for path, values in blocks:
            comments = [f"# {line}\n" for line in self._comments.get(path, ())]
            body = yaml.safe_dump(_ours(values), sort_keys=False, width=10_000) if values else ""
            written.append("".join(comments) + body)
        return "\n".join(written)


def _number(value: Any) -> Any:
    """Return the number that a text is, as LiteLLM takes it; other values as they are."""
    for kind in (int, float) if isinstance(value, str) else ():
        with suppress(ValueError):
            return kind(value)
    return value


def _backend(full: str) -> tuple[str, str]:
    """Return LiteLLM's prefix of a model, and the model as its lane takes it.

    Names without one are those that LiteLLM knows: OpenAI's and Anthropic's.
    """
    prefix, slash, rest = full.partition("/")
    if slash and prefix in _DIRECT:
        return prefix, rest
    if slash or full == "*":
        return (prefix, full) if slash else ("litellm", full)
    if full.startswith("claude"):
        return "anthropic", full
    return ("openai" if _OPENAIS.match(full) else "litellm"), full


def _retry(retries: object) -> dict[str, Any]:
    if isinstance(retries, int) and retries >= 0:
        return {"retry": {"max_attempts": retries + 1}}
    return {}


def _per_mtok(usd: object) -> object:
    """Return a price a token as one of a million, exact."""
    known = isinstance(usd, (int, float)) and not isinstance(usd, bool)
    return float(Decimal(str(usd)) * 1_000_000) if known else usd


def _ours(value: Any) -> Any:
    """Write LiteLLM's variables as ours, and what looks like one of ours as text."""
    if isinstance(value, Mapping):
        return {key: _ours(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_ours(each) for each in value]
    if not isinstance(value, str):
        return value
    if found := _REFERENCE.fullmatch(value):
        return f"${{{found[1]}}}"
    return value.replace("${", "$${")
