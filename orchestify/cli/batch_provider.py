"""`orchestify batch submit`, `status`, `fetch` and `cancel`: providers' batch APIs."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TYPE_CHECKING, TypeVar

import click

from orchestify.cli.errors import PROBLEMS, warnings_echoed
from orchestify.cli.options import (
    check_agent,
    complete_agent,
    config_option,
    json_option,
    load,
)
from orchestify.cli.output import count, plural, print_json, show_table, usd

if TYPE_CHECKING:
    from datetime import datetime

    from orchestify.batches.provider_batches import ProviderBatch, ProviderBatches
    from orchestify.batches.requests import BatchRequest
    from orchestify.core.config import Config
    from orchestify.providers.registry import ProviderRegistry

T = TypeVar("T")

_LONGEST_LINE = 1 << 26
_path = click.Path(path_type=Path)
_id = click.argument("batch_id", metavar="ID")
_COLUMNS = (
    *("batch", "agent", "at", "state", "done", "failed"),
    *("at most", "submitted", "expires"),
)


@click.command("submit", short_help="Leave a file of requests to a provider's batch API.")
@click.argument("requests", type=_path)
@click.option(
    "--agent", required=True, metavar="NAME", help="Who is asked.", shell_complete=complete_agent
)
@config_option
@click.option("--model", metavar="NAME", help="A model for all, whatever the requests say.")
@json_option
def submit_command(
    requests: Path, path: Path, agent: str, model: str | None, as_json: bool
) -> None:
    """Leave REQUESTS to the batch API of AGENT's provider: half the price, within 24 hours.

    REQUESTS is JSON lines: OpenAI's batch form, {"prompt": ...} or {"messages": ...} with an
    optional custom_id, or a text alone. A file that ends in .txt is plain prompts, one a line.

    The id of the batch goes to stdout. The most that it may cost is held in the budgets until it
    is fetched. The ledger has to be a database; nothing of the requests is kept in it.
    """
    asked = _read(requests, agent, model)
    config = load(path)
    check_agent(config, agent)
    batch = _run(config, lambda registry: registry.get_for_agent(agent).batch(asked))
    if as_json:
        print_json(batch)
        return
    click.echo(batch.id)
    click.echo(
        f"{plural(batch.total, 'request')} at {batch.provider}/{batch.model} | {_most(batch)} | "
        f"{_state(batch)}",
        err=True,
    )
    click.echo(f"then: orchestify batch fetch {batch.id} -o FILE", err=True)


@click.command("status", short_help="Ask how a batch stands, or list all.")
@click.argument("batch_id", metavar="[ID]", required=False)
@config_option
@json_option
def status_command(batch_id: str | None, path: Path, as_json: bool) -> None:
    """Ask the provider how batch ID stands; without an ID, list the batches that are known.

    The list is what was last heard; only with an ID is a provider asked.
    """

    async def ask(batches: ProviderBatches) -> list[ProviderBatch]:
        return [await batches.status(batch_id)] if batch_id else await batches.all()

    found = _run(load(path), lambda registry: ask(registry.batches))
    if as_json:
        print_json(found[0] if batch_id else found)
    elif batch_id:
        _tell(found[0])
    elif found:
        _show(found)
    else:
        click.echo("there are no batches in this ledger; `orchestify batch submit` makes one")


@click.command("fetch", short_help="Fetch and book the results of a batch.")
@_id
@click.option(
    "-o",
    "--output",
    "answers",
    type=_path,
    required=True,
    metavar="FILE",
    help="Where the answers go, a line each.",
)
@config_option
def fetch_command(batch_id: str, answers: Path, path: Path) -> None:
    """Write the results of batch ID to FILE, and book what they cost.

    Answers are in the form of OpenAI's batch output, in no order; FILE holds them as plain text and
    is there once all have come. A batch may be fetched again as long as its provider keeps the
    results (a month); it is booked once.
    """
    tally, config = _Tally(), load(path)
    with _replacing(answers.resolve()) as file:
        _run(config, lambda registry: _write(registry.batches, batch_id, file, tally))
    click.echo(f"{answers}: {tally.line()}", err=True)
    if tally.answered < tally.total:
        click.get_current_context().exit(PROBLEMS)


@click.command("cancel", short_help="Ask a provider to do no more of a batch.")
@_id
@config_option
@json_option
def cancel_command(batch_id: str, path: Path, as_json: bool) -> None:
    """Ask the provider to do no more of batch ID; what was done by then is billed.

    It takes some minutes; then `fetch` gives and books what was done.
    """
    batch = _run(load(path), lambda registry: registry.batches.cancel(batch_id))
    if as_json:
        print_json(batch)
    else:
        click.echo(f"batch {batch.id}: {_state(batch)}")


class _Tally:
    """What became of the requests of a batch."""

    def __init__(self) -> None:
        self.total = self.answered = self.unpriced = 0
        self.cost_usd = Decimal(0)

    def line(self) -> str:
        """Write it for people."""
        words = [f"{count(self.answered)} of {plural(self.total, 'request')} answered"]
        if self.answered < self.total:
            words.append(f"{count(self.total - self.answered)} failed")
        cost = usd(self.cost_usd)
        if self.unpriced:
            cost += f" and {plural(self.unpriced, 'answer')} of unknown cost"
        return " | ".join([*words, cost])


async def _write(batches: ProviderBatches, batch_id: str, file: IO[bytes], tally: _Tally) -> None:
    from orchestify.batches.answers import answer_of, encode_line  # noqa: PLC0415 - slow to import

    async with aclosing(batches.fetch(batch_id)) as results:
        async for result in results:
            file.write(encode_line(answer_of(result)))
            tally.total += 1
            if result.response is not None:
                tally.answered += 1
                tally.cost_usd += result.response.cost_usd or 0
                tally.unpriced += result.response.cost_usd is None


def _read(requests: Path, agent: str, model: str | None) -> list[BatchRequest]:
    """Return a file's requests; what is wrong with them is told all at once."""
    from dataclasses import replace  # noqa: PLC0415 - as the next

    from orchestify.batches.request_file import RequestFile  # noqa: PLC0415 - slow to import

    file = RequestFile(requests, agent)
    file.check()
    asked = [request for _, request in file.requests(bytearray(len(file.digests)))]
    if model is not None:
        asked = [replace(each, arguments={**each.arguments, "model": model}) for each in asked]
    return asked


def _run(config: Config, ask: Callable[[ProviderRegistry], Awaitable[T]]) -> T:
    """Do what `ask` does with the registry of a configuration."""
    from orchestify.providers.registry import ProviderRegistry  # noqa: PLC0415 - slow to import

    async def asking() -> T:
        async with ProviderRegistry.from_config(config) as registry:
            return await ask(registry)

    with warnings_echoed():
        return asyncio.run(asking())


def _tell(batch: ProviderBatch) -> None:
    """Write how one batch stands, and what can be done next."""
    done = f"{count(batch.succeeded)} done, {count(batch.failed)} failed"
    whose = f" for {batch.agent}" if batch.agent else ""
    click.echo(f"batch {batch.id}: {_state(batch)}")
    click.echo(
        f"{plural(batch.total, 'request')} at {batch.provider}/{batch.model}{whose} | {done} | "
        f"{_most(batch)}"
    )
    expires = f" | expires {_time(batch.expires_at)}" if batch.state == "running" else ""
    click.echo(f"submitted {_time(batch.submitted_at)}{expires}")
    if batch.state == "ended":
        click.echo(f"then: orchestify batch fetch {batch.id} -o FILE", err=True)


def _show(batches: Sequence[ProviderBatch]) -> None:
    rows = [
        [
            each.id,
            each.agent,
            f"{each.provider}/{each.model}",
            _state(each),
            f"{count(each.succeeded + each.failed)} of {count(each.total)}",
            count(each.failed),
            "unknown" if each.at_most_usd is None else usd(each.at_most_usd),
            _time(each.submitted_at),
            _time(each.expires_at),
        ]
        for each in batches
    ]
    show_table("", _COLUMNS, rows, spare=("expires", "agent", "failed", "submitted", "at most"))


def _most(batch: ProviderBatch) -> str:
    return "cost unknown" if batch.at_most_usd is None else f"{usd(batch.at_most_usd)} at most"


def _state(batch: ProviderBatch) -> str:
    """Write the state, and the provider's own word for it where that says more."""
    own = batch.status.replace("_", " ")
    state = batch.state.replace("_", " ")
    is_news = own and own != state and batch.state in ("running", "ended")
    return f"{state} ({own})" if is_news else state


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write answers to, its owner's only, which takes the place of another at last.

    Raises:
        click.ClickException: what is at `path` holds no answers, or it cannot be written.
    """
    try:
        if path.exists() and not _holds_answers(path):
            raise click.ClickException(f"{path} is there and holds no answers; name another file")
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                yield file
                file.flush()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise click.ClickException(f"{path} cannot be written: {reason}") from None


def _holds_answers(path: Path) -> bool:
    """Whether a file is empty, or begins with an answer, as one of an earlier fetch does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        line = file.readline(_LONGEST_LINE)
    with suppress(ValueError, RecursionError):
        found = json.loads(line)
        return isinstance(found, dict) and found.keys() >= {"custom_id", "response", "error"}
    return not line
