"""`orchestify usage --watch`: the report in a terminal, drawn anew as calls are booked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from orchestify.cli.output import console
from orchestify.errors import LedgerError

if TYPE_CHECKING:
    from rich.console import RenderableType

EVERY_S = 2.0


async def watch(draw: Callable[[], Awaitable[RenderableType]]) -> None:
    """Show what `draw` returns, every two seconds, until Ctrl-C; on a pipe once.

    A database that is away is told below the last figures, and asked again.

    Raises:
        LedgerError: the database could not be read at the first look.
    """
    screen, shown = console(), await draw()
    if not screen.is_terminal:
        screen.print(shown)
        return
    from rich.console import Group  # noqa: PLC0415 - only where it is watched
    from rich.live import Live  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    with Live(shown, console=screen, auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                shown = await draw()
                live.update(shown, refresh=True)
            except LedgerError as error:
                live.update(Group(shown, Text(f"! {error}", style="red")), refresh=True)
