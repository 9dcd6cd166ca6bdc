"""`orchestify demo`: three agents, three providers, real HTTP, no key and no network."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from orchestify.cli.board import Board, LiveBoard, PlainBoard, SilentBoard
from orchestify.cli.configuration import json_option
from orchestify.cli.failure import PROBLEMS
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
    default_model: claude-sonnet-4-5
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
    "claude-sonnet-4-5": (
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
    board: Board = SilentBoard()
    if not as_json:
        board = LiveBoard(console()) if console().is_terminal else PlainBoard()
    responses, report = asyncio.run(_run(board))
    if as_json:
        print_json(report)
    else:
        _show(responses, report)
    if not report["accounts_agree"]:
        ctx.exit(PROBLEMS)


async def _run(board: Board) -> tuple[dict[str, LLMResponse], dict[str, Any]]:
    from orchestify.core.config import parse_config  # noqa: PLC0415 - slow to import
    from orchestify.providers.registry import ProviderRegistry  # noqa: PLC0415
    from orchestify.testing import StubServer  # noqa: PLC0415

    async with StubServer() as server:
        server.respond = _Overloaded()
        environ = {"DEMO_URL": server.url, "DEMO_KEY": "demo"}
        config = parse_config(CONFIGURATION, name="demo.yaml", environ=environ)
        async with ProviderRegistry.from_config(config) as registry:
            with board.shown(list(PROMPTS)):
                answers = await asyncio.gather(*(_ask(registry, agent, board) for agent in PROMPTS))
            responses = dict(zip(PROMPTS, answers, strict=True))
            return responses, _report(responses, registry, server)


async def _ask(registry: ProviderRegistry, agent: str, board: Board) -> LLMResponse:
    from orchestify.values import TextDelta, ThinkingDelta  # noqa: PLC0415 - slow to import

    provider = registry.get_for_agent(agent)
    is_loading = provider.provider_type == "litellm"
    board.say(agent, "waits for LiteLLM to load" if is_loading else "waits")
    async with provider.stream(PROMPTS[agent]) as stream:
        async for event in stream.events():
            if isinstance(event, ThinkingDelta):
                board.say(agent, "thinks")
            elif isinstance(event, TextDelta):
                board.say(agent, "answers", event.text)
    response = stream.response
    tries = plural(len(response.attempts), "attempt")
    board.say(agent, f"done in {response.latency_s:.1f} s, {tries}", end=True)
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
