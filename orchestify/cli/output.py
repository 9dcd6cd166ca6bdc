"""What commands print: tables for people, JSON for programs, notes on stderr."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestify.resources.terminal_text import CONTROLS, without_controls

if TYPE_CHECKING:
    from rich.live import Live

_LEAST_USD = 0.000001
_SILENT_S = 2.0
_ENDLESS = 10_000  # columns
_NARROW = 60  # columns
_GAP = 2  # between two columns of a table


def console(*, stderr: bool = False) -> Console:
    """Return a console on the present stdout or stderr; colours only on a terminal.

    What is no terminal, as a pipe, has a width only where `COLUMNS` says one: there a row is a
    line, its names whole.
    """
    made = Console(stderr=stderr, highlight=False, markup=False, soft_wrap=False)
    if not made.is_terminal and not os.environ.get("COLUMNS"):
        made.width = _ENDLESS
    return made


def note(text: str, *, stderr: bool = True) -> None:
    """Print a line beside what was asked for."""
    click.echo(f"{click.style('note:', fg='yellow')} {text}", err=stderr)


def table(title: str, *columns: str, right: Iterable[str] = ()) -> Table:
    """Return an empty table; what does not fit a cell is folded, never cut off."""
    made = _Table(
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


class _Table(Table):
    """A table whose cells hold nothing that a terminal obeys, printed row by row where too narrow.

    Below 60 columns, where words would have to be broken.
    """

    def add_row(self, *cells: Any, **style: Any) -> None:
        """Add a row; see rich."""
        super().add_row(
            *(without_controls(each) if isinstance(each, str) else each for each in cells), **style
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = [str(column.header) for column in self.columns]
        rows = list(
            zip(*([str(cell) for cell in each.cells] for each in self.columns), strict=True)
        )
        if options.max_width >= _NARROW or least_width(names, rows) <= options.max_width:
            yield from super().__rich_console__(console, options)
            return
        if self.title:
            yield Text(str(self.title), style="bold")
        for name, *values in rows:
            yield Text(name, style="bold")
            yield Padding(_by_name(names[1:], values), (0, 0, 0, 2))


def _by_name(names: Sequence[str], values: Sequence[str]) -> Table:
    """Return the values that are not empty, each behind its name."""
    made = Table.grid(padding=(0, 1, 0, 0))
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for name, value in zip(names, values, strict=True):
        if value:
            made.add_row(name, value)
    return made


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = ()
) -> None:
    """Print a table in which words stay whole, such as ids to be copied; cells fold between them.

    Where that has no room, columns of `spare` are left out, the first of them first, and named.
    """
    room, left_out = console().width, list(spare)
    for count in range(len(spare) + 1):
        left_out = list(spare[:count])
        if least_width(*_without(left_out, columns, rows)) <= room:
            break
    columns, rows = _without(left_out, columns, rows)
    made = table(title, *columns)
    for column, width in zip(made.columns, _widths(columns, rows, room), strict=True):
        column.width = width
    for row in rows:
        made.add_row(*row)
    console().print(made)
    if left_out:
        note(f"too narrow to show: {', '.join(left_out)}")


def least_width(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, whole: bool = False
) -> int:
    """Return how wide a table is whose words stay whole, or its cells, too."""
    split = str.splitlines if whole else str.split
    return sum(_longest(columns, rows, split)) + _GAP * (len(columns) - 1)


def _longest(
    columns: Sequence[str], rows: Sequence[Sequence[str]], split: Callable[[str], list[str]]
) -> list[int]:
    cells = zip(columns, *rows, strict=True)
    return [max(cell_len(part) for cell in each for part in split(cell) or [""]) for each in cells]


def _widths(
    columns: Sequence[str], rows: Sequence[Sequence[str]], room: int
) -> Sequence[int | None]:
    """Return the columns' widths, those first that lack least; None where rich must break words."""
    least, most = _longest(columns, rows, str.split), _longest(columns, rows, str.splitlines)
    left = room - sum(least) - _GAP * (len(columns) - 1)
    if left < 0:
        return [None] * len(columns)
    for index in sorted(range(len(columns)), key=lambda index: most[index] - least[index]):
        more = min(left, most[index] - least[index])
        least[index], left = least[index] + more, left - more
    return least


def _without(
    left_out: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    shown = [index for index, name in enumerate(columns) if name not in left_out]
    return [columns[index] for index in shown], [[row[index] for index in shown] for row in rows]


class WaitingLine:
    """A line on a terminal's stderr while nothing else happens, from the third second on.

        with WaitingLine(lambda: "asking claude") as waiting:
            ...
            waiting.end()  # before anything is printed; leaving the block does it, too

    `what` is asked each time the line is drawn. It is no part of what pipes and files read.
    """

    def __init__(self, what: Callable[[], str]) -> None:
        self._what = what
        self._console = console(stderr=True)
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._has_ended = not self._console.is_terminal
        self._timer = threading.Timer(_SILENT_S, self._show)
        self._timer.daemon = True

    def end(self) -> None:
        """Take the line away, for good."""
        self._timer.cancel()
        with self._lock:
            self._has_ended = True
            if self._live is not None:
                self._live.stop()
                self._live = None

    def __enter__(self) -> Self:
        if not self._has_ended:
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _show(self) -> None:
        from rich.live import Live  # noqa: PLC0415 - only where something takes long

        with self._lock:
            if not self._has_ended:
                self._live = Live(
                    get_renderable=self._line,
                    console=self._console,
                    transient=True,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._live.start()

    def _line(self) -> Text:
        waited_s = time.monotonic() - self._began
        line = f"{without_controls(self._what())}, {waited_s:.0f} s (Ctrl-C ends it)"
        return Text(line, style="dim", no_wrap=True, overflow="ellipsis")


def print_json(value: Any) -> None:
    """Print JSON; money is text, so that it stays exact, and moments are ISO 8601.

    What a terminal obeys is written as an escape of JSON's.
    """
    text = json.dumps(plain(value), indent=2, ensure_ascii=False)
    click.echo(CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1], text))


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
