"""`orchestify check`."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestify.cli.errors import PROBLEMS
from orchestify.cli.options import config_argument, json_option
from orchestify.cli.output import console, note, plural, print_json, rate, table
from orchestify.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from orchestify.core.config import Config
    from orchestify.models.price_check import ModelPrices
    from orchestify.models.pricing import Price


@click.command()
@config_argument
@click.option("--prices", is_flag=True, help="Show the price of every configured model.")
@json_option
@click.pass_context
def command(ctx: click.Context, path: Path, prices: bool, as_json: bool) -> None:
    """Say what is wrong with the configuration at PATH (config), all of it at once.

    Where nothing is wrong: what is on and off, and what is worth telling. Sends nothing.
    """
    from orchestify.core.config import load_config  # noqa: PLC0415 - slow to import
    from orchestify.core.warnings import config_warnings  # noqa: PLC0415
    from orchestify.lanes.litellm.backends import client_notes  # noqa: PLC0415
    from orchestify.models.model_warnings import model_warnings  # noqa: PLC0415
    from orchestify.models.retirement import retirement_notes  # noqa: PLC0415
    from orchestify.models.sampling import sampling_notes  # noqa: PLC0415
    from orchestify.models.thinking import thinking_notes  # noqa: PLC0415
    from orchestify.models.unanswerable import unanswerable  # noqa: PLC0415

    try:
        config = load_config(path)
    except ConfigError as error:
        _show_problems(error, as_json=as_json)
        if not (path.exists() or as_json):
            click.echo(
                "`orchestify init` writes a configuration; `orchestify check PATH` reads one"
            )
        ctx.exit(PROBLEMS)
    never = unanswerable(config)
    if never:
        _show_problems(ConfigError(never), as_json=as_json)
        ctx.exit(PROBLEMS)
    told = [
        *config_warnings(config),
        *model_warnings(config),
        *client_notes(config),
        *sampling_notes(config),
        *thinking_notes(config),
    ]
    told += retirement_notes(config, datetime.now(UTC).date())
    found = _prices(config) if prices else []
    if as_json:
        report = {"ok": True, "problems": [], "notes": told, **_state(config)}
        print_json({**report, "prices": [_price_row(each) for each in found]} if prices else report)
    else:
        _show(config, told, found)


def _show_problems(error: ConfigError, *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": False, "problems": error.problems})
        return
    for problem in error.problems:
        click.echo(problem)
    found = plural(len(error.problems), "problem")
    click.echo("\n" + click.style(f"{found} found", fg="red", bold=True))


def _state(config: Config) -> dict[str, Any]:
    from orchestify.core.chains import chain_of  # noqa: PLC0415 - slow to import

    off = config.providers.off
    chains = {name: chain_of(config, name, each) for name, each in config.agents.agents.items()}
    return {
        "files": config.files,
        "providers": {
            name: {
                "type": each.type,
                "model": each.default_model,
                "on": each.is_enabled,
                "reason": off.get(name),
            }
            for name, each in config.providers.providers.items()
        },
        "agents": {
            name: {
                "provider": own.provider,
                "model": own.model or None,
                "fallback": [f"{each.provider}/{each.model}" for each in fallback],
                "on": config.agents.agents[name].enabled,
            }
            for name, (own, *fallback) in chains.items()
        },
        "tasks": {
            name: {"agent": each.agent, "priority": each.priority}
            for name, each in config.tasks.items()
        },
    }


def _prices(config: Config) -> list[ModelPrices]:
    from orchestify.models.price_check import check_prices  # noqa: PLC0415 - reads a large file

    return check_prices(config)


def _show(config: Config, told: list[str], prices: list[ModelPrices]) -> None:
    state, out = _state(config), console()
    providers = table("Providers", "name", "type", "model", "state")
    for name, row in state["providers"].items():
        on = "on" if row["on"] else f"off: {row['reason']}"
        providers.add_row(name, row["type"], row["model"] or "", on)
    agents = table("Agents", "name", "asks", "then", "state")
    for name, row in state["agents"].items():
        fallback = "\n".join(row["fallback"])
        own = f"{row['provider']}/{row['model'] or ''}".rstrip("/")
        agents.add_row(name, own, fallback, "on" if row["on"] else "off")
    tasks = table("Tasks", "name", "agent", "priority")
    for name, row in state["tasks"].items():
        tasks.add_row(name, row["agent"], row["priority"])
    shown = [providers, agents, *([tasks] if config.tasks else [])]
    for each in (*shown, *([_price_table(prices)] if prices else [])):
        out.print(each)
        out.print()
    for line in told:
        note(line, stderr=False)
    counts = (plural(len(state[kind]), kind[:-1]) for kind in ("providers", "agents"))
    ok = click.style("ok:", fg="green", bold=True)
    click.echo(f"{ok} {', '.join(counts)}, {plural(len(told), 'note')}")


def _price_row(prices: ModelPrices) -> dict[str, Any]:
    price = prices.in_force
    return {
        "provider": prices.provider,
        "model": prices.model,
        "input_usd_per_mtok": price.rates.input if price else None,
        "output_usd_per_mtok": price.rates.output if price else None,
        "source": price.source if price else "none",
        "priced_at": price.priced_at if price else None,
        "assumed": price.assumed if price else False,
        "disagree": prices.disagree,
        "sources": {
            each.source: {
                "input_usd_per_mtok": each.rates.input,
                "output_usd_per_mtok": each.rates.output,
                "priced_at": each.priced_at,
            }
            for each in prices.sources
        },
    }


def _price_table(found: list[ModelPrices]) -> Table:
    made = table(
        "Prices in USD per million tokens",
        *("model", "input", "output", "source", "since", "other sources"),
        right=("input", "output"),
    )
    for each in found:
        price = each.in_force
        where = f"{each.provider}/{each.model}"
        if price is None:
            made.add_row(where, "?", "?", "none: calls are unpriced", "", "")
            continue
        source = f"{price.source}, assumed" if price.assumed else price.source
        since = str(price.priced_at or "")
        rates = rate(price.rates.input), rate(price.rates.output)
        made.add_row(where, *rates, source, since, _others(each))
    return made


def _others(prices: ModelPrices) -> str:
    """What the sources say that are not in force."""
    used = prices.in_force
    others = [each for each in prices.sources if used and each.source != used.source]
    return "\n".join(
        f"{each.source}: the same"
        if used and _rates(each) == _rates(used)
        else f"{each.source}: {' / '.join(rate(amount) for amount in _rates(each))}"
        for each in others
    )


def _rates(price: Price) -> tuple[Decimal, Decimal]:
    return price.rates.input, price.rates.output
