"""`orchestify batch`: many requests in files."""

from __future__ import annotations

import click

from orchestify.cli.batch_provider import (
    cancel_command,
    fetch_command,
    status_command,
    submit_command,
)
from orchestify.cli.batch_run import run_command


@click.group()
def command() -> None:
    """Ask an agent many requests from a file."""


command.add_command(run_command)
command.add_command(submit_command)
command.add_command(status_command)
command.add_command(fetch_command)
command.add_command(cancel_command)
