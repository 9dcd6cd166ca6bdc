"""`orchestify providers list` and `orchestify providers test`."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestify.cli.errors import PROBLEMS
from orchestify.cli.options import (
    check_provider,
    complete_provider,
    config_option,
    json_option,
    load,
)
from orchestify.cli.output import (
    WaitingLine,
    console,
    count,
    note,
    plain,
    plural,
    print_json,
    table,
    usd,
)
from orchestify.resources.terminal_text import without_controls

if TYPE_CHECKING:
    from orchestify.core.config import Config
    from orchestify.core.providers import ProviderConfig
    from orchestify.providers.provider_check import Check, Trial


RECENT = timedelta(minutes=10)  # as long as statistics of calls reach back in a running host


@click.group()
def command() -> None:
    """List the providers, or try each of them."""


@command.command("list")
@config_option
@json_option
def list_(path: Path, as_json: bool) -> None:
    """List the providers: how they are reached, whether they are on, how they have been doing.

    The last ten minutes' calls are those in the ledger's database, where there is one. Sends
    nothing.
    """
    config = load(path)
    recent = asyncio.run(_recent(config))
    rows = [
        {**_row(name, each), "recent": recent.get(name)}
        for name, each in config.providers.providers.items()
    ]
    if as_json:
        print_json(rows)
        return
    titles = ("name", "type", "model", "address", "key", "state")
    made = table("", *titles, *(("last 10 min",) if recent else ()))
    for row in rows:
        kind = f"{row['type']}, engine {row['engine']}" if row["engine"] else row["type"]
        key = "set" if row["has_key"] else "none"
        state = "on" if row["on"] else "off"
        cells = (row["name"], kind, row["model"] or "", row["base_url"] or "", key, state)
        made.add_row(*cells, *((_doing(row["recent"]),) if recent else ()))
    console().print(made)
    for row in rows:
        if not row["on"]:
            click.echo(f"{row['name']} is off: {row['reason']}")


@command.command("test")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_provider)
@config_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the results there, too, as JSON.",
)
@click.option(
    "--benchmark",
    "calls",
    type=click.IntRange(0, 100),
    default=0,
    metavar="N",
    help="Time N streamed answers of each provider as well, one after another (at most 100).",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    metavar="USD",
    help="What the calls may cost at most, all providers together.",
)
@json_option
def test(
    names: tuple[str, ...],
    path: Path,
    output: Path | None,
    calls: int,
    budget: float,
    as_json: bool,
) -> None:
    """Try each provider (or those named) with a few short calls, all at once.

    Connect, complete, stream, tools, structured output, a wrong model. These are real calls that
    cost a little: they have a budget of their own, beside the configuration's, and are booked.
    Exits with 1 where a check fails.
    """
    from orchestify.providers.provider_check import try_configured  # noqa: PLC0415 - slow to import

    config = load(path)
    for name in names:
        check_provider(config, name)
    limit_usd = Decimal(str(budget))
    chosen = ", ".join(names) or plural(len(config.providers.providers), "provider")
    with WaitingLine(lambda: f"trying {chosen}"):
        trials, total = asyncio.run(try_configured(config, names or None, limit_usd, calls))
    notes = _notes(config, trials)
    report = {"ok": all(each.ok for each in trials), "providers": _as_dicts(trials), "usage": total}
    report |= {"notes": notes}
    if output is not None:
        _write(output, report)
    if as_json:
        print_json(report)
    else:
        _show(trials, notes, total, limit_usd)
    if not report["ok"]:
        click.get_current_context().exit(PROBLEMS)


def _row(name: str, provider: ProviderConfig) -> dict[str, Any]:
    return {
        "name": name,
        "type": provider.type,
        "engine": provider.engine,
        "model": provider.default_model,
        "base_url": provider.base_url,
        "has_key": provider.api_key is not None,
        "on": provider.is_enabled,
        "reason": provider.off_reason,
    }


async def _recent(config: Config) -> dict[str, dict[str, Any]]:
    """Return how the providers' calls of the last ten minutes went, as the ledger tells."""
    if config.ledger is None or config.ledger.url is None:
        return {}
    from orchestify.ledger.opening import open_ledger  # noqa: PLC0415 - SQLAlchemy is slow to import

    url, since = config.ledger.url.get_secret_value(), datetime.now(UTC) - RECENT
    async with aclosing(open_ledger(url, base_dir=Path())) as ledger:
        rows = (await ledger.usage("provider", since=since)).rows
    return {
        row.key[0]: {
            "answered": row.total.calls,
            "failed": row.total.failed + row.total.interrupted,
            "latency_mean_s": row.total.latency_s / row.total.attempts,
        }
        for row in rows
        if row.total.attempts
    }


def _doing(recent: dict[str, Any] | None) -> str:
    if recent is None:
        return "no calls"
    answered, failed = recent["answered"], recent["failed"]
    return f"{answered} of {answered + failed} answered, {recent['latency_mean_s']:.2f} s each"


def _as_dicts(trials: list[Trial]) -> list[dict[str, Any]]:
    return [
        {"provider": each.provider, "ok": each.ok, "checks": each.checks}
        | ({} if each.benchmark is None else {"benchmark": each.benchmark})
        for each in trials
    ]


def _write(output: Path, report: dict[str, Any]) -> None:
    try:
        output.write_text(json.dumps(plain(report), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise click.ClickException(f"{output} cannot be written: {reason}") from None


def _notes(config: Config, trials: list[Trial]) -> list[str]:
    """Return what is not to be had of the tried providers, through LiteLLM as it is installed."""
    from orchestify.lanes.litellm.backends import client_note  # noqa: PLC0415 - as above

    names = [each.provider for each in trials]
    told = {name: client_note(config.providers.providers[name]) for name in names}
    return [f"providers.{name}: {what}" for name, what in told.items() if what is not None]


def _show(trials: list[Trial], notes: list[str], total: dict[str, Any], limit_usd: Decimal) -> None:
    titles = [check.name for check in trials[0].checks] if trials else []
    made = table("", "provider", *titles)
    for trial in trials:
        made.add_row(trial.provider, *map(_cell, trial.checks))
    console().print(made)
    click.echo()
    _show_benchmarks(trials)
    for trial in trials:
        for check in trial.checks:
            if check.result != "ok" and check.message:
                said = without_controls(check.message)
                result = click.style(check.result, fg="red" if check.result == "failed" else None)
                click.echo(f"{trial.provider}: {check.name} {result}: {said}")
    for line in notes:
        note(line, stderr=False)
    click.echo(_spent(total, limit_usd))


def _spent(total: dict[str, Any], limit_usd: Decimal) -> str:
    """Say what a trial used, and what of that nobody can price or be sure of."""
    tokens = f"{count(total['input_tokens'])} tokens in, {count(total['output_tokens'])} out"
    unpriced, possible = total["unpriced_calls"], total["possible_usd"]
    rest = f"; {plural(unpriced, 'call')} without a known price" if unpriced else ""
    rest += f"; possibly billed beside it, at most {usd(possible)}" if possible else ""
    return (
        f"spent: {usd(total['cost_usd'])} of the {usd(limit_usd)} that this may cost; "
        f"{plural(total['attempts'], 'request')}, {tokens}{rest}"
    )


def _show_benchmarks(trials: list[Trial]) -> None:
    timed = [(each.provider, each.benchmark) for each in trials if each.benchmark is not None]
    if not timed:
        return
    titles = ("calls", "failed", "median", "95 %", "first output", "tokens/s", "cost")
    made = table("", "provider", *titles)
    for name, found in timed:
        times = (found.latency_p50_s, found.latency_p95_s, found.first_output_p50_s)
        failed = ", ".join(f"{number} {error}" for error, number in found.errors.items()) or "0"
        rate = "" if found.tokens_per_s is None else f"{found.tokens_per_s:.0f}"
        figures = (*map(_seconds, times), rate, usd(found.cost_usd))
        made.add_row(name, count(found.calls), failed, *figures)
    console().print(made)
    click.echo()


def _seconds(time_s: float | None) -> str:
    return "" if time_s is None else f"{time_s:.2f} s"


def _cell(check: Check) -> str:
    return f"ok {check.latency_s:.2f} s" if check.result == "ok" else check.result
