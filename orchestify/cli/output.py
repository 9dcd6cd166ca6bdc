"""What commands print: tables for people, JSON for programs, notes on stderr."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

_LEAST_USD = 0.000001


def console(*, stderr: bool = False) -> Console:
    """Return a console on the present stdout or stderr; colours only on a terminal."""
    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=False)


def table(title: str, *columns: str, right: Iterable[str] = ()) -> Table:
    """Return an empty table; what does not fit a cell is folded, never cut off."""
    made = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def print_json(value: Any) -> None:
    """Print JSON; money is text, so that it stays exact, and moments are ISO 8601."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """Return a value as what JSON has; a named tuple is written as its text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {each.name: plain(getattr(value, each.name)) for each in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if hasattr(value, "_fields"):
        return str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, (date, datetime)) else value


def usd(amount: Decimal | float | None) -> str:
    """Write money: cents from one dollar on, below it as many digits as it takes to see it."""
    if amount is None:
        return "unknown"
    if not amount or amount >= 1:
        return f"${amount:,.2f}"
    digits = f"{amount:.6f}".rstrip("0")
    return f"${digits:0<4}" if amount >= _LEAST_USD else "<$0.000001"


def rate(amount: Decimal | None) -> str:
    """Write a rate in USD per million tokens."""
    return "?" if amount is None else f"{amount.normalize():f}"


def size(tokens: int | None) -> str:
    """Write a model's size in tokens, shortly: 8192, 128k, 1M."""
    if tokens is None:
        return "?"
    if tokens < 10_000:
        return str(tokens)
    return f"{tokens / 1_000_000:.3g}M" if tokens >= 1_000_000 else f"{tokens / 1000:.0f}k"


def count(number: int | None) -> str:
    """Write a number of tokens."""
    return "?" if number is None else f"{number:,}"


def plural(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
