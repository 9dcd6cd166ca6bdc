"""`orchestify schema`."""

from __future__ import annotations

import click

from orchestify.cli.output import print_json


@click.command()
def command() -> None:
    """Print the configuration's JSON Schema, for editors.

    Write it beside the configuration, `orchestify schema > config/orchestify.schema.json`, and
    put `# yaml-language-server: $schema=orchestify.schema.json` on top of each file.
    """
    from orchestify.core.config import config_schema  # noqa: PLC0415 - pydantic is slow to import

    print_json(config_schema())
