"""How a command says that it failed: exit codes, and one block on stderr."""

from __future__ import annotations

import click

from orchestify.errors import ConfigError, OrchestifyError

PROBLEMS = 1
CONFIG_ERROR = 3
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def show_error(error: OrchestifyError) -> None:
    """Write an error to stderr: what it is, then its lines."""
    if isinstance(error, ConfigError):
        count = len(error.problems)
        head = f"the configuration has {count} problem{'s' if count > 1 else ''}"
        lines = list(error.problems)
    else:
        head, *lines = f"{type(error).__name__}: {error}".splitlines()
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {head}", err=True)
    for line in lines:
        click.echo(f"  {line}", err=True)
