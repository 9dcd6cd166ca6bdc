"""`orchestify models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestify.cli.options import (
    check_provider,
    complete_provider,
    config_option,
    json_option,
    load,
)
from orchestify.cli.output import console, print_json, rate, size, table

if TYPE_CHECKING:
    from rich.table import Table

    from orchestify.core.config import Config
    from orchestify.providers.catalogue import ModelInfo


@click.command()
@config_option
@click.option(
    "--provider",
    metavar="NAME",
    shell_complete=complete_provider,
    help="All models that are known for this provider.",
)
@json_option
def command(path: Path, provider: str | None, as_json: bool) -> None:
    """List the configured models: context window, prices, capabilities.

    They can call tools, take images, think, and answer in the form of a JSON Schema. What
    nobody knows is shown as `?` (null with --json). Sends nothing.
    """
    config = load(path)
    if provider is not None:
        check_provider(config, provider)
    found = _infos(config, provider)
    if as_json:
        print_json(found)
    else:
        _show(found)


def _infos(config: Config, provider: str | None) -> list[ModelInfo]:
    from orchestify.core.chains import configured_models  # noqa: PLC0415 - slow to import
    from orchestify.providers.catalogue import model_info, models_of  # noqa: PLC0415
    from orchestify.providers.explain import lookup_of  # noqa: PLC0415

    lookup = lookup_of(config)
    runtime = lookup.runtime
    if provider is None:
        pairs = [pair for pair in configured_models(config) if pair[0] in lookup.providers]
    else:
        pairs = [(provider, model) for model in models_of(lookup.target(provider), runtime)]
    return [model_info(lookup.target(*pair), runtime) for pair in pairs]


def _show(found: list[ModelInfo]) -> None:
    out = console()
    for position, provider in enumerate(dict.fromkeys(each.provider for each in found)):
        if position:
            out.print()
        out.print(_table(provider, [each for each in found if each.provider == provider]))


def _table(provider: str, found: list[ModelInfo]) -> Table:
    made = table(
        f"{provider}: prices in USD per million tokens",
        *("model", "context", "output", "in", "out", "source", "can"),
        right=("context", "output", "in", "out"),
    )
    for each in found:
        source = f"{each.price_source}, assumed" if each.price_assumed else each.price_source
        made.add_row(
            each.model,
            size(each.context_window),
            size(each.max_output_tokens),
            rate(each.input_usd_per_mtok),
            rate(each.output_usd_per_mtok),
            source,
            _capabilities(each),
        )
    return made


def _capabilities(info: ModelInfo) -> str:
    """What the model can; a `?` marks what nobody knows."""
    known = {
        "tools": info.tools,
        "images": info.images,
        "think": info.thinking,
        "json": info.structured_output,
    }
    words = {None: "{}?", True: "{}"}
    return " ".join(words[value].format(name) for name, value in known.items() if value in words)
