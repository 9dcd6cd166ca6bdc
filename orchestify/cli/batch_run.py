"""`orchestify batch run`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestify.cli.errors import PROBLEMS, show_error, warnings_echoed
from orchestify.cli.options import check_agent, complete_agent, config_option, load
from orchestify.cli.output import console, count, note, plural, size, usd

if TYPE_CHECKING:
    from rich.live import Live

    from orchestify.batches.answer_file import Tally
    from orchestify.batches.run_file import FileRun
    from orchestify.core.config import Config

_path = click.Path(path_type=Path)
_REDRAWN_A_SECOND = 4
_BAR_COLUMNS = 24


@click.command("run", short_help="Ask a file of requests, and go on where it stopped.")
@click.argument("requests", type=_path)
@click.option(
    "-o",
    "--output",
    "answers",
    type=_path,
    required=True,
    metavar="FILE",
    help="Where the answers go, a line each, as they come.",
)
@click.option(
    "--agent", required=True, metavar="NAME", help="Who is asked.", shell_complete=complete_agent
)
@config_option
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many requests are under way at once.",
)
@click.option("--system", metavar="TEXT", help="A system prompt before every request.")
@click.option("--model", metavar="NAME", help="A model for all, whatever the requests say.")
@click.option("--retry-failed", is_flag=True, help="Ask again what has failed.")
@click.option(
    "--retry-unknown",
    is_flag=True,
    help="Ask again what may have been sent and billed by a run that was killed.",
)
def run_command(requests: Path, answers: Path, path: Path, agent: str, **options: Any) -> None:
    """Ask AGENT every request of REQUESTS, and write the answers to FILE.

    REQUESTS is JSON lines: OpenAI's batch form, {"prompt": ...} or {"messages": ...} with an
    optional custom_id, or a text alone. A file that ends in .txt is plain prompts, one a line.
    All of it is checked before anything is sent.

    The same command again goes on where the last one stopped, and asks nothing twice. Ctrl-C takes
    no more requests and waits for those under way; the second gives these up.

    Answers are in the form of OpenAI's batch output. FILE holds them as plain text.
    """
    from orchestify.batches.run_file import FileRun, FileRunOptions  # noqa: PLC0415 - slow to import

    config = load(path)
    check_agent(config, agent)
    run = FileRun(requests, answers, agent, FileRunOptions(**options))
    run.open()
    try:
        with warnings_echoed(), _Progress(run):
            asyncio.run(_ask(run, config, agent))
    finally:
        run.close()
        _tell_end(run.tally, answers)
    if run.stopped_by is not None:
        show_error(run.stopped_by)
        click.echo("Stopped; the same command goes on from here.", err=True)
    if run.stopped_by is not None or run.tally.answered < run.tally.total:
        click.get_current_context().exit(PROBLEMS)


async def _ask(run: FileRun, config: Config, agent: str) -> None:
    """Ask; the first interrupt waits for what is under way, a second one ends it."""
    from orchestify.providers.registry import ProviderRegistry  # noqa: PLC0415 - slow to import

    async with ProviderRegistry.from_config(config) as registry:
        asking = asyncio.create_task(run.ask(registry.get_for_agent(agent).complete))
        try:
            await asyncio.wait([asking])
        except asyncio.CancelledError:
            run.stop()
            await asyncio.wait([asking])
            asking.result()
            raise
        asking.result()


class _Progress:
    """A bar on a terminal's stderr while a run is under way; nothing where that is no terminal."""

    def __init__(self, run: FileRun) -> None:
        self._run = run
        self._before = run.tally.ended
        self._began = time.monotonic()
        self._console = console(stderr=True)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            from rich.live import Live  # noqa: PLC0415 - only where it is shown

            self._live = Live(
                get_renderable=self._bar,
                console=self._console,
                refresh_per_second=_REDRAWN_A_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _bar(self) -> Table:
        tally = self._run.tally
        bar = ProgressBar(tally.total, tally.ended, width=_BAR_COLUMNS)
        line = progress_line(tally, self._left_s())
        if self._run.has_stopped:
            line = f"waiting for {plural(self._run.under_way, 'request')} (Ctrl-C ends it)"
        shown = Table.grid(padding=(0, 1, 0, 0))
        shown.add_row(bar, Text(line, no_wrap=True, overflow="ellipsis"))
        return shown

    def _left_s(self) -> float | None:
        """Return how long the rest takes if it goes on as this run has; None where none ended."""
        tally = self._run.tally
        ended = tally.ended - self._before
        if not ended:
            return None
        return (time.monotonic() - self._began) / ended * (tally.total - tally.ended)


def progress_line(tally: Tally, left_s: float | None) -> str:
    """Write how far a run is: what has ended and failed, tokens, cost now and at the end, time."""
    parts = [f"{count(tally.ended)} of {count(tally.total)}"]
    if tally.failed or tally.unknown:
        parts.append(f"{count(tally.failed + tally.unknown)} failed")
    parts.append(f"{size(tally.input_tokens + tally.output_tokens)} tokens")
    parts.append(_cost(tally))
    if tally.cost_usd:
        at_end = tally.cost_usd / tally.answered * (tally.total - tally.failed - tally.unknown)
        parts.append(f"about {usd(at_end)} at the end")
    if left_s is not None:
        parts.append(f"{_clock(left_s)} left")
    return " | ".join(parts)


def _cost(tally: Tally) -> str:
    if not tally.unpriced:
        return usd(tally.cost_usd)
    if tally.unpriced == tally.answered:
        return "cost unknown"
    return f"{usd(tally.cost_usd)} and {plural(tally.unpriced, 'answer')} of unknown cost"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _tell_end(tally: Tally, answers: Path) -> None:
    """Write what became of all requests, and how to go on with those without an answer."""
    words = [f"{count(tally.answered)} of {plural(tally.total, 'request')} answered"]
    if tally.failed:
        words.append(f"{count(tally.failed)} failed")
    if tally.unknown:
        words.append(f"{count(tally.unknown)} unknown")
    words.append(f"{count(tally.input_tokens)} in, {count(tally.output_tokens)} out")
    words.append(_cost(tally))
    click.echo(f"{answers}: {' | '.join(words)}", err=True)
    if tally.failed:
        note("--retry-failed asks again what has failed")
    if tally.unknown:
        note(
            "unknown is what a run that was killed may have sent: it may have been billed; "
            "--retry-unknown asks it again"
        )
