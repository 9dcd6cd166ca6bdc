"""`orchestify init`."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import click

from orchestify.cli.options import DEFAULT_PATH
from orchestify.cli.output import plural


@click.command()
@click.argument(
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_PATH,
    metavar="[DIR]",
)
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def command(folder: Path, force: bool) -> None:
    """Write a commented configuration to DIR (config) from the keys in the environment.

    Keys are written as variables, never as what they hold. Without any key the configuration
    has a provider that makes its answers up, so that it can be tried at once.
    """
    from orchestify.providers.template import template  # noqa: PLC0415 - pydantic is slow to import

    files = template(os.environ, date.today())
    there = [str(folder / name) for name in files if (folder / name).exists()]
    if there and not force:
        raise click.ClickException(f"{', '.join(there)}: already there; --force overwrites")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise click.ClickException(f"{folder} cannot be written: {reason}") from None
    for name in files:
        click.echo(f"wrote {folder / name}")
    _tell_providers()
    option = "" if folder == DEFAULT_PATH else f" --config {folder}"
    click.echo(f'\nNow: orchestify check {folder}\n     orchestify ask assistant "hello"{option}')


def _tell_providers() -> None:
    from orchestify.providers.environment import (  # noqa: PLC0415 - as above
        document_from_env,
        missing_from_env,
    )

    found = list(document_from_env(os.environ, date.today())["providers"])
    missing = missing_from_env(os.environ)
    if found:
        click.echo(f"{plural(len(found), 'provider')} found: {', '.join(found)}")
    else:
        lack = "no provider is complete" if missing else "no key found"
        click.echo(f"{lack} in the environment; the one written makes its answers up")
    for name, variables in missing.items():
        click.echo(f"{name} is left out: {', '.join(variables)} not set")
