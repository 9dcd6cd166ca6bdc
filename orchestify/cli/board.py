"""Showing several answers while they arrive: panels on a terminal, lines anywhere else."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import click
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

_COLOURS = ("cyan", "magenta", "yellow", "blue")
_FRAMES_A_SECOND = 12
_LINE = 80


class Board(Protocol):
    """Where agents' answers are shown."""

    def shown(self, agents: Sequence[str]) -> AbstractContextManager[None]:
        """Show the agents while the block runs."""

    def say(self, agent: str, state: str, text: str = "", *, end: bool = False) -> None:
        """Tell what an agent does now, and the text that has come; `end`: no more will."""


class SilentBoard:
    """Shows nothing."""

    def shown(self, agents: Sequence[str]) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def say(self, agent: str, state: str, text: str = "", *, end: bool = False) -> None:
        """Do nothing."""


@dataclass(slots=True)
class _Answer:
    state: str = ""
    text: str = ""
    ended: bool = False


@dataclass(slots=True)
class LiveBoard:
    """One panel an agent, drawn again as text arrives."""

    console: Console
    answers: dict[str, _Answer] = field(default_factory=dict)

    @contextmanager
    def shown(self, agents: Sequence[str]) -> Iterator[None]:
        """Draw the panels until the block ends; the last state stays."""
        self.answers = {agent: _Answer() for agent in agents}
        with Live(
            get_renderable=self._panels,
            console=self.console,
            refresh_per_second=_FRAMES_A_SECOND,
        ):
            yield

    def say(self, agent: str, state: str, text: str = "", *, end: bool = False) -> None:
        """Change the agent's panel."""
        answer = self.answers[agent]
        answer.state, answer.ended = state, end
        answer.text += text

    def _panels(self) -> Group:
        pairs = zip(self.answers.items(), _COLOURS, strict=False)
        return Group(*(self._panel(*pair, colour) for pair, colour in pairs))

    def _panel(self, agent: str, answer: _Answer, colour: str) -> Panel:
        return Panel(
            Text(answer.text) if answer.ended else Text(answer.text + "\u258c"),
            title=Text(agent, style=f"bold {colour}"),
            title_align="left",
            subtitle=Text(answer.state, style="dim"),
            subtitle_align="right",
            border_style=colour,
            width=min(self.console.width, 100),
        )


@dataclass(slots=True)
class PlainBoard:
    """Lines as they fill up, with the agent's name in front."""

    answers: dict[str, _Answer] = field(default_factory=dict)
    margin: int = 0

    @contextmanager
    def shown(self, agents: Sequence[str]) -> Iterator[None]:
        """Print lines while the block runs."""
        self.answers = {agent: _Answer() for agent in agents}
        self.margin = max(map(len, agents))
        yield

    def say(self, agent: str, state: str, text: str = "", *, end: bool = False) -> None:
        """Print the lines that the text fills, and what the agent does now where that is new."""
        answer = self.answers[agent]
        if state != answer.state and not end:
            self._print(agent, f"({state})")
        answer.state = state
        answer.text += text
        *full, answer.text = self._lines(answer.text)
        for line in full:
            self._print(agent, line)
        if end:
            self._print(agent, answer.text)
            self._print(agent, f"({state})")

    def _lines(self, text: str) -> list[str]:
        width = _LINE - self.margin - len(" | ")
        lines = []
        for line in text.split("\n"):
            first, *rest = textwrap.wrap(line, width, drop_whitespace=False) or [""]
            lines += [first, *(each.lstrip() for each in rest)]
        return lines

    def _print(self, agent: str, line: str) -> None:
        click.echo(f"{agent:<{self.margin}} | {line.rstrip()}")
