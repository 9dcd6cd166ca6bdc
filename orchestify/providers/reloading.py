"""Another configuration for what runs: what differs, what must not, and when files changed."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from orchestify.core.config import Config
from orchestify.core.files import file_states
from orchestify.core.policies import Settings
from orchestify.errors import ConfigError, InvalidParameterError
from orchestify.events.events import ConfigReloaded

WATCH_INTERVAL_S = 1.0


def difference(before: Config, after: Config) -> ConfigReloaded:
    """Return the names of what another configuration adds, changes or removes."""
    return ConfigReloaded(
        _changed(before.providers.providers, after.providers.providers),
        _changed(before.agents.agents, after.agents.agents),
        _changed(_settings(before), _settings(after)),
    )


def check_ledger(before: Config, after: Config) -> None:
    """Refuse a configuration with another ledger than the one that is open.

    Raises:
        ConfigError: the line that says so.
    """
    if before.ledger == after.ledger:
        return
    place = after.origin("ledger") or before.origin("ledger")
    at = "" if place is None else f"{place.file}:{place.line}:{place.column}: "
    raise ConfigError([f"{at}ledger: cannot be changed while calls are booked there; restart"])


async def watch_files(
    path: Path, changed: Callable[[], Awaitable[None]], interval_s: float = WATCH_INTERVAL_S
) -> None:
    """Await `changed` soon, and from then on whenever the files or the environment have changed.

    They are looked at every `interval_s` seconds; a change counts once it has stood for as long,
    so that a file half written is not read.

    Raises:
        InvalidParameterError: the interval is no time.
    """
    check_interval(interval_s)
    known = seen = None
    while True:
        state = await asyncio.to_thread(_state, path)
        if state == seen and state != known:
            known = state
            await changed()
        seen = state
        await asyncio.sleep(interval_s)


def check_interval(interval_s: float) -> None:
    """Refuse what is no interval.

    Raises:
        InvalidParameterError: not above 0, or without an end.
    """
    if not isinstance(interval_s, (int, float)) or not 0 < interval_s < math.inf:
        raise InvalidParameterError("watch: interval_s: expected seconds above 0")


def _state(path: Path) -> object:
    return file_states(path, os.environ.get("ORCHESTIFY_VAULT")), hash(
        frozenset(os.environ.items())
    )


def _settings(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in Settings.model_fields}


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    names = dict.fromkeys([*before, *after])
    return tuple(name for name in names if before.get(name) != after.get(name))
