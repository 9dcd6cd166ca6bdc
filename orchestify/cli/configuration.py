"""Options that name a configuration, and finding in it what a command line names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestify.cli.failure import CONFIG_ERROR

if TYPE_CHECKING:
    from orchestify.core.config import Config

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_PATH = Path("config")

_path = click.Path(path_type=Path)


class _NoConfigurationError(click.ClickException):
    exit_code = CONFIG_ERROR


def config_option(command: F) -> F:
    """Add `--config PATH`."""
    return click.option(
        "--config",
        "path",
        type=_path,
        default=DEFAULT_PATH,
        show_default=True,
        metavar="PATH",
        help="A directory with providers.yaml and agents.yaml, or one file.",
    )(command)


def config_argument(command: F) -> F:
    """Add the argument `[PATH]`."""
    return click.argument("path", type=_path, default=DEFAULT_PATH, metavar="[PATH]")(command)


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def load(path: Path) -> Config:
    """Return the configuration at `path`; where there is nothing, say how to get one.

    Raises: ConfigError with all that is wrong with it.
    """
    from orchestify.core.config import load_config  # noqa: PLC0415 - pydantic is slow to import

    if not path.exists():
        raise _NoConfigurationError(
            f"there is no configuration at {path}; `orchestify init` writes one, "
            "--config PATH names another"
        )
    return load_config(path)


def check_agent(config: Config, name: str) -> None:
    """Refuse an agent that is not configured or is off, and name those that are on."""
    agents = config.agents.agents
    on = [each for each, agent in agents.items() if agent.enabled]
    if name in on:
        return
    state = "is off" if name in agents else "is not configured"
    _refuse("agent", name, state, on)


def check_provider(config: Config, name: str) -> None:
    """Refuse a provider that is not configured or is off, and name those that are on."""
    off = config.providers.off
    on = [each for each in config.providers.providers if each not in off]
    if name not in on:
        state = f"is off ({off[name]})" if name in off else "is not configured"
        _refuse("provider", name, state, on)


def _refuse(kind: str, name: str, state: str, known: Iterable[str]) -> None:
    from orchestify.core.problems import did_you_mean  # noqa: PLC0415 - difflib is slow to import

    names = list(known)
    there = ", ".join(names) or "none"
    meant = did_you_mean(name, names)
    raise click.UsageError(f"{kind} {name!r} {state}{meant}\nThere are: {there}")
