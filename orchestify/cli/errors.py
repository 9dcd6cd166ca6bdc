"""How a command fails: exit codes, and one block on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from orchestify.errors import ConfigError, OrchestifyError
from orchestify.resources.terminal_text import without_controls

PROBLEMS = 1
CONFIG_ERROR = 3
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@contextmanager
def warnings_echoed() -> Iterator[None]:
    """Write what is logged meanwhile to stderr at the end, but not what an error says itself."""
    log, kept, said = logging.getLogger("orchestify"), _WarningLines(logging.WARNING), None
    log.addHandler(kept)
    try:
        yield
    except OrchestifyError as error:
        said = str(error)
        raise
    finally:
        log.removeHandler(kept)
        for line in kept.lines:
            if said is None or said not in line:
                click.echo(f"{click.style('note:', fg='yellow')} {line}", err=True)


class _WarningLines(logging.Handler):
    """Keeps lines, each once, in order."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines[without_controls(record.getMessage())] = None


def show_error(error: OrchestifyError) -> None:
    """Write an error to stderr: what it is, then its lines."""
    if isinstance(error, ConfigError):
        count = len(error.problems)
        head = f"the configuration has {count} problem{'s' if count > 1 else ''}"
        lines = list(error.problems)
    else:
        head, *lines = f"{type(error).__name__}: {error}".splitlines()
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {without_controls(head)}", err=True)
    for line in lines:
        click.echo(f"  {without_controls(line)}", err=True)
