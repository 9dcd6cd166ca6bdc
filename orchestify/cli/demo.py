"""`orchestify demo`: three agents, three providers, real HTTP, no key and no network."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import click
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from orchestify.cli.errors import PROBLEMS
from orchestify.cli.options import json_option
from orchestify.cli.output import console, count, plural, print_json, table, usd

if TYPE_CHECKING:
    from rich.table import Table

    from orchestify.providers.registry import ProviderRegistry
    from orchestify.testing import Reply, StubRequest, StubServer
    from orchestify.values import LLMResponse


CONFIGURATION = """\
providers:
  claude:
    type: anthropic            # Anthropic's Messages
    base_url: ${DEMO_URL}
    api_key: ${DEMO_KEY}
    default_model: claude-sonnet-4-6
  gpt:
    type: openai               # OpenAI's Chat Completions
    base_url: ${DEMO_URL}/v1
    api_key: ${DEMO_KEY}
    default_model: gpt-4.1-mini
  other:
    type: litellm              # LiteLLM, as for 100 other backends
    base_url: ${DEMO_URL}/v1
    api_key: ${DEMO_KEY}
    default_model: openai/in-house

agents:
  planner: {provider: claude, thinking: true}
  coder: {provider: gpt, temperature: 0.2, max_tokens: 500}
  reviewer: {provider: other}

retry: {first_delay_s: 0.5, max_delay_s: 2}
"""

PROMPTS = {
    "planner": "Plan a command that counts the words of a file, in three steps.",
    "coder": "Write that command in Python.",
    "reviewer": "What would you look at before merging it?",
}

_ANSWERS = {
    "claude-sonnet-4-6": (
        "First, read the file as a stream, so that its size does not matter. Second, split on "
        "white space and add up. Third, print one number, and exit with 1 where the file cannot "
        "be read."
    ),
    "gpt-4.1-mini": (
        "import sys\n"
        "with open(sys.argv[1], encoding='utf-8') as file:\n"
        "    print(sum(len(line.split()) for line in file))"
    ),
    "in-house": (
        "An empty file, a file without a last line break, bytes that are not UTF-8, and a path "
        "that is a directory. Then the exit code: a script that calls this must be able to tell."
    ),
}
_WORD_S = 0.04  # between two words of an answer


@click.command()
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Run three agents at once against a server on this machine; needs no key and no network.

    The server speaks Anthropic's and OpenAI's protocols; a provider of each type calls it. It is
    overloaded at first for one of them, so one attempt fails and is made again.
    """
    display: AnswerDisplay = NoDisplay()
    if not as_json:
        display = LiveDisplay(console()) if console().is_terminal else LineDisplay()
    responses, report = asyncio.run(_run(display))
    if as_json:
        print_json(report)
    else:
        _show(responses, report)
    if not report["accounts_agree"]:
        ctx.exit(PROBLEMS)


async def _run(display: AnswerDisplay) -> tuple[dict[str, LLMResponse], dict[str, Any]]:
    from orchestify.core.config import parse_config  # noqa: PLC0415 - slow to import
    from orchestify.providers.registry import ProviderRegistry  # noqa: PLC0415
    from orchestify.testing import StubServer  # noqa: PLC0415

    async with StubServer() as server:
        server.respond = _Overloaded()
        environ = {"DEMO_URL": server.url, "DEMO_KEY": "demo"}
        config = parse_config(CONFIGURATION, name="demo.yaml", environ=environ)
        async with ProviderRegistry.from_config(config) as registry:
            with display.shown(list(PROMPTS)):
                answers = await asyncio.gather(
                    *(_ask(registry, agent, display) for agent in PROMPTS)
                )
            responses = dict(zip(PROMPTS, answers, strict=True))
            return responses, _report(responses, registry, server)


async def _ask(registry: ProviderRegistry, agent: str, display: AnswerDisplay) -> LLMResponse:
    from orchestify.values import TextDelta, ThinkingDelta  # noqa: PLC0415 - slow to import

    provider = registry.get_for_agent(agent)
    is_loading = provider.provider_type == "litellm"
    display.say(agent, "waits for LiteLLM to load" if is_loading else "waits")
    async with provider.stream(PROMPTS[agent]) as stream:
        async for event in stream.events():
            if isinstance(event, ThinkingDelta):
                display.say(agent, "thinks")
            elif isinstance(event, TextDelta):
                display.say(agent, "answers", event.text)
    response = stream.response
    tries = plural(len(response.attempts), "attempt")
    display.say(agent, f"done in {response.latency_s:.1f} s, {tries}", end=True)
    return response


class _Overloaded:
    """Answers with the agents' answers; the first request for gpt finds the server overloaded."""

    def __init__(self) -> None:
        self.is_overloaded = True

    def __call__(self, request: StubRequest) -> Reply | None:
        """Return the reply to a request."""
        from orchestify.testing import Reply  # noqa: PLC0415 - slow to import

        if request.model == "gpt-4.1-mini" and self.is_overloaded:
            self.is_overloaded = False
            return Reply(status=503, error="The engine is currently overloaded.")
        return Reply(text=_ANSWERS.get(request.model), chunk_delay_s=_WORD_S)


def _report(
    responses: Mapping[str, LLMResponse], registry: ProviderRegistry, server: StubServer
) -> dict[str, Any]:
    summary = registry.get_usage_summary()
    billed, total = server.account.billed, summary["total"]
    seen = {
        "requests": server.account.received,
        "input_tokens": billed.input_tokens,
        "output_tokens": billed.output_tokens,
    }
    booked = {"requests": total["attempts"], **{key: total[key] for key in list(seen)[1:]}}
    return {
        "answers": {agent: response.content for agent, response in responses.items()},
        "summary": summary,
        "server": seen,
        "accounts_agree": seen == booked,
    }


def _show(responses: Mapping[str, LLMResponse], report: Mapping[str, Any]) -> None:
    click.echo()
    console().print(_summary_table(responses, report["summary"]))
    seen = report["server"]
    verdict = "the ledger agrees" if report["accounts_agree"] else "the ledger does NOT agree"
    click.echo(
        f"\nThe server counted {plural(seen['requests'], 'request')}, "
        f"{count(seen['input_tokens'])} tokens in, {count(seen['output_tokens'])} out: {verdict}."
    )
    unpriced = report["summary"]["unpriced_calls"]
    if unpriced:
        click.echo(
            f"{plural(unpriced, 'call')} without a known price: counted, never summed as zero."
        )


def _summary_table(responses: Mapping[str, LLMResponse], summary: Mapping[str, Any]) -> Table:
    numbers = ("attempts", "in", "out", "cost", "unpriced")
    made = table("Usage", "agent", "answered by", *numbers, right=numbers)
    for agent, response in responses.items():
        where = f"{response.provider}/{response.model}"
        made.add_row(agent, where, *_numbers(summary["by_agent"][agent]))
    made.add_section()
    made.add_row("total", "", *_numbers(summary["total"]), style="bold")
    return made


def _numbers(row: Mapping[str, Any]) -> Iterator[str]:
    for key in ("attempts", "input_tokens", "output_tokens"):
        yield count(row[key])
    unpriced = row["unpriced_calls"]
    yield usd(None if unpriced and unpriced == row["calls"] else row["cost_usd"])
    yield str(unpriced or "")


_COLOURS = ("cyan", "magenta", "yellow", "blue")
_FRAMES_A_SECOND = 12
_LINE = 80


class AnswerDisplay(Protocol):
    """Where agents' answers are shown."""

    def shown(self, agents: Sequence[str]) -> AbstractContextManager[None]:
        """Show the agents while the block runs."""

    def say(self, agent: str, state: str, text: str = "", *, end: bool = False) -> None:
        """Tell what an agent does now, and the text that has come; `end`: no more will."""


class NoDisplay:
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
class LiveDisplay:
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
class LineDisplay:
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
