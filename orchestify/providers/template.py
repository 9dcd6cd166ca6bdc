"""The commented configuration that `orchestify init` writes, from what an environment holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from orchestify.core.config import config_schema, parse_config
from orchestify.providers.environment import ENV_PROVIDERS, document_from_env

SCHEMA_FILE = "orchestify.schema.json"
OFFLINE = "offline"

_MODELINE = f"# yaml-language-server: $schema={SCHEMA_FILE}\n\n"

_PROVIDERS = """\
# Who answers. Keys stay in the environment: ${NAME} is filled in when this is loaded,
# ${NAME:-default} has a default. Or they go into the vault, by `orchestify keys set NAME`, and
# are written api_key: vault:NAME. `orchestify check` says what is wrong, at which line.
#
# More keys of a provider:
#   max_tokens: 8192          # a default for agents that name none
#   enabled: auto             # on only where its variables are set; true, false
#   engine: litellm           # send through LiteLLM what would go directly
#   options: {seed: 7}        # fields of the request's body, passed on as they are
#   price: {input_usd_per_mtok: 3, output_usd_per_mtok: 15}
#   retry, circuit_breaker, rate_limit, timeout_s...: as in policies.yaml, for this one only

providers:
"""

_OFFLINE = f"""\
  # No provider was found in the environment, so this one makes its answers up: no network, no cost.
  # Set a variable named below and run `orchestify init --force` again, or write a provider here.
  {OFFLINE}:
    type: mock
    options:
      answer: This answer was made up. Configure a provider in providers.yaml to get a real one.
    price:
      input_usd_per_mtok: 0
      output_usd_per_mtok: 0
"""

_MISSING = """
# Others that `orchestify init` finds by these variables:
{rows}
# Any OpenAI-compatible endpoint is `type: openai` with a base_url; the 100 backends of LiteLLM
# are `type: litellm` with a model like azure/gpt-4o or bedrock/...
"""

_AGENTS = """\
# Who asks. `orchestify explain AGENT` shows what a call of an agent does, and why.
#
# More keys of an agent:
#   model: ...                # default: the provider's default_model
#   temperature, top_p, stop  # not sent where not written
#   thinking: true            # or low, medium, high, {budget_tokens: 4096}
#   cache: true               # mark system prompt and tools as cacheable
#   fallback_on: [content_filter]
#   strategy: health          # priority (default), round_robin, weighted, least_recently_used
#   api_key: ${NAME}          # its own, on the provider's account otherwise
#   metadata: {...}           # yours; orchestify only hands it on

agents:
"""

_POLICIES = """\
# What holds for every call, unless a provider or an agent says otherwise (the nearest wins).
# What is commented out shows the default.

# retry: {max_attempts: 5, first_delay_s: 1, max_delay_s: 8}
# circuit_breaker: {failures: 5, window_s: 60, open_s: 30, max_open_s: 300}
# timeout_s: 600              # a whole call, or until a stream's first output
# first_output_timeout_s: 60  # one attempt at a stream; unwritten: see docs/limits.md
# attempt_timeout_s: 300      # one attempt; unwritten: no limit of its own
# connect_timeout_s: 10
# idle_timeout_s: 300         # between the chunks of a stream
# stream_timeout_s: 3600      # a whole stream; by default no limit
"""

_RATE_LIMIT = """
# Per provider. Also: tokens_per_minute, tokens_per_day, burst, concurrency.
"""

_NO_RATE_LIMIT = """
# rate_limit: {requests_per_minute: 600, tokens_per_minute: 200000, concurrency: 20}
"""

_BUDGETS = """
# budgets:                    # none by default; a hard one refuses what it has no room for
#   - {name: day, limit_usd: 20, period: day, alert_at: [0.5, 0.8]}
#   - {name: assistant, match: {agent: assistant}, limit_usd: 5, period: day, mode: warn}
"""

_LEDGER = """
# Every attempt is booked here; the path starts at this folder (.gitignore keeps it out of git).
# Without it the account lives as long as the process.
ledger:
  url: sqlite:///.orchestify/usage.db
"""

_ALERTS = """
# alerts: {error_rate: 0.1, slow_s: 30, daily_cost_usd: 20}
"""


def template(environ: Mapping[str, str], today: date) -> dict[str, str]:
    """Return the files of a configuration by name, with variables and never their values.

    Raises:
        ConfigError: a variable holds what cannot be used; it is named, not shown.
    """
    document = document_from_env(environ, today)
    providers = document.pop("providers")
    texts = {
        "providers.yaml": _PROVIDERS + _providers(providers),
        "agents.yaml": _AGENTS + _agents(list(providers) or [OFFLINE]),
        "policies.yaml": _policies(document),
    }
    parse_config("".join(texts.values()), name="<environment>", environ=environ)
    return with_schema(texts)


def with_schema(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the files of a configuration, with the schema by which an editor checks them."""
    files = {name: _MODELINE + text for name, text in texts.items()}
    return {**files, SCHEMA_FILE: json.dumps(config_schema(), indent=2) + "\n"}


def _providers(providers: Mapping[str, Any]) -> str:
    found = "\n\n".join("\n".join(_yaml({name: each}, 1)) for name, each in providers.items())
    rows = [
        f"#   {row.name:<11}{', '.join(' or '.join(group) for group in row.needs)}"
        for row in ENV_PROVIDERS
        if row.name not in providers
    ]
    missing = _MISSING.format(rows="\n".join(rows)) if rows else ""
    return (f"{found}\n" if found else _OFFLINE) + missing


def _agents(providers: list[str]) -> str:
    first, *others = providers
    assistant = {"provider": first, "max_tokens": 4096}
    if others:
        assistant["fallback"] = f"[{', '.join(others[:2])}]"
    reviewer = {"provider": first, "temperature": 0.2, "max_tokens": 4096}
    agents = {"assistant": assistant, "reviewer": reviewer}
    return "\n\n".join("\n".join(_yaml({name: each}, 1)) for name, each in agents.items()) + "\n"


def _policies(settings: Mapping[str, Any]) -> str:
    limit, alerts = settings.get("rate_limit"), settings.get("alerts")
    parts = [_POLICIES]
    parts += [_RATE_LIMIT, *_lines("rate_limit", limit)] if limit else [_NO_RATE_LIMIT]
    parts += [_BUDGETS, _LEDGER]
    parts += ["\n", *_lines("alerts", alerts)] if alerts else [_ALERTS]
    return "".join(parts)


def _lines(key: str, value: Mapping[str, Any]) -> list[str]:
    return [f"{line}\n" for line in _yaml({key: value}, 0)]


def _yaml(values: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Write a mapping as YAML; its texts are names, addresses and variables, plain as they are."""
    for key, value in values.items():
        nested = isinstance(value, Mapping)
        yield f"{'  ' * depth}{key}:" + ("" if nested else f" {value}")
        if nested:
            yield from _yaml(value, depth + 1)
