"""`orchestify explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestify.cli.options import check_agent, complete_agent, config_option, json_option, load
from orchestify.cli.output import console, count, plain, plural, print_json, table, usd

if TYPE_CHECKING:
    from decimal import Decimal

    from rich.table import Table

    from orchestify.providers.explain import Explanation, Setting, TargetPlan


@click.command()
@click.argument("agent", shell_complete=complete_agent)
@config_option
@click.option(
    "--input-tokens",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="The size of the call that is costed.",
)
@click.option("--max-tokens", type=click.IntRange(min=1), help="The longest answer of that call.")
@json_option
def command(
    agent: str, path: Path, input_tokens: int, max_tokens: int | None, as_json: bool
) -> None:
    """Show what a call of AGENT does, and the file and line where each setting is written.

    AGENT may be an alias or a model as well, as `registry.get_for_model` takes it.

    The chain of targets, the policies in force, which targets would be skipped now and why,
    the most attempts one call can make and the most it can cost. A task's name stands for its
    agent. Sends nothing.
    """
    from orchestify.errors import AgentNotFoundError  # noqa: PLC0415
    from orchestify.providers.explain import explain  # noqa: PLC0415 - slow to import

    config = load(path)
    try:
        plan = explain(config, agent, input_tokens=input_tokens, max_tokens=max_tokens)
    except AgentNotFoundError:
        check_agent(config, agent, [*config.tasks, *config.models])
        raise
    if as_json:
        print_json(_as_dict(plan))
    else:
        _show(plan)


def _as_dict(plan: Explanation) -> dict[str, Any]:
    targets = [
        {**plain(target), "cost_at_most_usd": target.cost_at_most_usd} for target in plan.targets
    ]
    return {
        **plain(plan),
        "targets": targets,
        "attempts_at_most": plan.attempts_at_most,
        "cost_at_most_usd": plan.cost_at_most_usd,
    }


def _show(plan: Explanation) -> None:
    out = console()
    out.print(
        _settings(f"Agent {plan.agent}" if plan.agent else f"Model {plan.model}", plan.settings)
    )
    first: tuple[Setting, ...] = ()
    for position, target in enumerate(plan.targets, start=1):
        title = f"Target {position}: {target.provider}/{target.model}"
        own = tuple(each for each in target.settings if each not in first)
        out.print()
        out.print(_settings(title, own))
        same = [each.name for each in _said(target.settings) if each in first]
        if same:
            click.echo(f"  as target 1: {', '.join(same)}")
        first = first or target.settings
        for line in _remarks(target):
            click.echo(f"  {line}")
    if plan.budgets:
        out.print()
        out.print(_budgets(plan))
    click.echo(f"\n{_bounds(plan)}")


def _settings(title: str, settings: tuple[Setting, ...]) -> Table:
    """Show what is written or has a default; what nobody says is not sent."""
    made = table(title, "setting", "value", "from")
    for each in _said(settings):
        made.add_row(each.name, _value(each.value), str(each.origin or "default"))
    return made


def _said(settings: tuple[Setting, ...]) -> list[Setting]:
    return [each for each in settings if each.value not in (None, (), False)]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(repr(each) for each in value)
    if value is True:
        return "yes"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _remarks(target: TargetPlan) -> list[str]:
    lines = [f"not sent: {name}, which the model refuses" for name in target.left_out]
    lines += [f"{key}: {what}" for key, what in target.changed.items()]
    if target.skipped:
        lines.append(f"skipped now: {target.skipped}")
    if target.attempts_at_most:
        cost = f"{usd(target.attempt_usd)} each ({target.price_source})"
        if target.attempt_usd is None:
            cost = "price unknown"
        lines.append(f"at most {plural(target.attempts_at_most, 'attempt')}, {cost}")
        lines.append(
            f"at most {target.stays_s:g} s here, {target.attempt_s:g} s an attempt, "
            f"{target.first_output_s:g} s until a stream's first output"
        )
    return lines


def _budgets(plan: Explanation) -> Table:
    made = table("Budgets", "name", "limit", "left", "from", right=("limit", "left"))
    for each in plan.budgets:
        name = each.name if each.mode == "hard" else f"{each.name} (warns only)"
        per = f" for each {each.per}" if each.per else ""
        limit = _amounts(each.limit_usd, each.limit_tokens, each.limit_calls)
        left = _amounts(each.remaining_usd, each.remaining_tokens, each.remaining_calls)
        if each.possible_usd:
            left += f" ({usd(each.possible_usd)} possibly billed)"
        made.add_row(name, f"{limit} / {each.period}{per}", left, str(each.origin or ""))
    return made


def _amounts(usd_: Decimal | None, tokens: int | None, calls: int | None) -> str:
    said = [] if usd_ is None else [usd(usd_)]
    said += [] if tokens is None else [f"{count(tokens)} tokens"]
    said += [] if calls is None else [plural(calls, "call")]
    return ", ".join(said)


def _bounds(plan: Explanation) -> str:
    attempts = plural(plan.attempts_at_most, "attempt")
    call = f"One call with {count(plan.input_tokens)} input tokens: at most {attempts}"
    if plan.cost_at_most_usd is not None:
        return f"{call} and {usd(plan.cost_at_most_usd)}"
    unknown = ", ".join(
        f"{each.provider}/{each.model}" for each in plan.targets if each.cost_at_most_usd is None
    )
    return f"{call}; cost unknown, as nobody knows the price of {unknown}"
