"""`orchestify usage --watch` in a terminal and on a pipe, and `orchestify usage serve`."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from orchestify.cli import cli
from orchestify.ledger.sql.ledger import SqlLedger
from tests.ledgers import answered, database, opened
from tests.reports import write_ledger
from tests.signals import with_interrupts

USAGE = [sys.executable, "-m", "orchestify", "usage"]
LIMIT_S = 60.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    return asyncio.run(write_ledger(tmp_path / "usage.db"))


class Terminal:
    """A command in a terminal of its own, 100 columns wide; `text` is all that it wrote."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self.process = process
        self.text = ""
        self._screen = screen

    def read_until(self, is_there: Callable[[str], bool]) -> None:
        """Read on until the text is so; fail where it does not come."""
        end = time.monotonic() + LIMIT_S
        while not is_there(self.text):
            assert time.monotonic() < end, self.text
            self._read()

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit code once it has ended."""
        self.process.send_signal(signal.SIGINT)
        self.read_until(lambda _: self.process.poll() is not None)
        self._read()
        return self.process.wait()

    def _read(self) -> None:
        """Take what it wrote, if anything came within a moment."""
        if select.select([self._screen], [], [], 0.1)[0]:
            with suppress(OSError):  # it has ended
                self.text += os.read(self._screen, 1 << 16).decode(errors="replace")


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*USAGE, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"COLUMNS": "100", "LINES": "40", "TERM": "xterm"},
        preexec_fn=with_interrupts,  # noqa: PLW1509 - it sets signals, no more
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


async def _book(url: str, agent: str) -> None:
    ledger = SqlLedger(database(url, Path()))
    await ledger.open(record := opened(agent=agent))
    ledger.complete(answered(record))
    await ledger.aclose()


def test_on_a_pipe_it_prints_once(url: str) -> None:
    runner = CliRunner(env={"COLUMNS": "80"})
    watched = runner.invoke(cli, ["usage", "--ledger", url, "--watch"])
    printed = runner.invoke(cli, ["usage", "--ledger", url])
    assert watched.exit_code == 0
    assert watched.stdout == printed.stdout


def test_in_a_terminal_it_follows_and_ends_by_ctrl_c(url: str) -> None:
    with terminal("--ledger", url, "--watch", "--by", "agent") as screen:
        screen.read_until(lambda text: "reviewer" in text)
        asyncio.run(_book(url, "latecomer"))
        screen.read_until(lambda text: "latecomer" in text)
        code = screen.interrupt()
    assert code == 0
    assert "Traceback" not in screen.text


@pytest.mark.parametrize("more", [["--format", "json"], ["--output", "file"]])
def test_watching_draws_a_table(url: str, more: list[str]) -> None:
    result = CliRunner().invoke(cli, ["usage", "--ledger", url, "--watch", *more])
    assert result.exit_code == 2
    assert "--watch draws a table in a terminal" in result.stderr


def test_serving_prints_an_address_with_its_token_and_ends_by_ctrl_c(url: str) -> None:
    with terminal("serve", "--ledger", url) as screen:
        screen.read_until(lambda text: "(Ctrl-C ends it)" in text)
        address = screen.text.split("the live view is at ")[1].split()[0]
        address = address.removeprefix("\x1b[1m").removesuffix("\x1b[0m")
        place, _, token = address.partition("#token=")
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(trust_env=False) as client:
            refused = client.get(f"{place}api/v1/live")
            state = client.get(f"{place}api/v1/live", headers=headers).json()
        code = screen.interrupt()
    assert place.startswith("http://127.0.0.1:")
    assert len(token) >= 32
    assert refused.status_code == 401
    assert [row["name"] for row in state["periods"]["today"]["by"]["agent"]] == []
    assert code == 0
    assert "Traceback" not in screen.text


def test_nothing_is_served_of_a_ledger_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["usage", "serve", "--ledger", f"sqlite:///{tmp_path}/no.db"])
    assert result.exit_code == 1
    assert "no.db: nothing was booked" in result.stderr
    assert list(tmp_path.iterdir()) == []
