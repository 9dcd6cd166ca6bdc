"""`orchestify init`."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestify.cli.options import DEFAULT_PATH
from orchestify.cli.output import plural

if TYPE_CHECKING:
    from orchestify.providers.litellm_import import Conversion

GITIGNORE = ".gitignore"
LEDGER_IGNORED = "# the ledger, and the vault's file\n.orchestify/\n"


@click.command()
@click.argument(
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_PATH,
    metavar="[DIR]",
)
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Make it of the YAML of a LiteLLM Router or proxy.",
)
def command(folder: Path, force: bool, source: Path | None) -> None:
    """Write a commented configuration to DIR (config) from the keys in the environment.

    Keys are written as variables, never as what they hold. Without any key the configuration
    has a provider that makes its answers up, so that it can be tried at once.
    """
    from orchestify.providers import template  # noqa: PLC0415 - pydantic is slow to import

    notes: tuple[str, ...] = ()
    if source is None:
        files = template.template(os.environ, date.today())
    else:
        converted = _converted(source)
        files, notes = template.with_schema(converted.files), converted.notes
    there = [str(folder / name) for name in files if (folder / name).exists()]
    if there and not force:
        raise click.ClickException(f"{', '.join(there)}: already there; --force overwrites")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        if not (folder / GITIGNORE).exists():
            (folder / GITIGNORE).write_text(LEDGER_IGNORED, encoding="utf-8")
            files[GITIGNORE] = LEDGER_IGNORED
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise click.ClickException(f"{folder} cannot be written: {reason}") from None
    for name in files:
        click.echo(f"wrote {folder / name}")
    if source is None:
        _tell_providers()
    elif notes:
        click.echo(f"\n{plural(len(notes), 'note')}, also where they belong in these files:")
        for note in notes:
            click.echo(f"  {note}")
    option = "" if folder == DEFAULT_PATH else f" --config {folder}"
    ask = "" if source else f'\n     orchestify ask assistant "hello"{option}'
    click.echo(f"\nNow: orchestify check {folder}{ask}")


def _converted(source: Path) -> Conversion:
    from orchestify.providers.litellm_import import convert  # noqa: PLC0415 - as above

    try:
        return convert(source.read_text(encoding="utf-8"), source.name)
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise click.ClickException(f"{source} cannot be read: {reason}") from None
    except UnicodeDecodeError:
        raise click.ClickException(f"{source} is no UTF-8 text") from None


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
