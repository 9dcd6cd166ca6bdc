"""`orchestify ask`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestify.cli.errors import warnings_echoed
from orchestify.cli.options import check_agent, complete_agent, config_option, json_option, load
from orchestify.cli.output import WaitingLine, count, plural, print_json, usd
from orchestify.resources.terminal_text import without_controls

if TYPE_CHECKING:
    from orchestify.calls.stream import ReaderEvent
    from orchestify.core.config import Config
    from orchestify.providers.base import LLMProvider
    from orchestify.providers.registry import ProviderRegistry
    from orchestify.values import Attempt, LLMResponse


@click.command()
@click.argument("agent", shell_complete=complete_agent)
@click.argument("prompt")
@config_option
@click.option("--system", metavar="TEXT", help="A system prompt.")
@click.option("--model", metavar="NAME", help="Another model of the agent's provider.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="The longest answer, in tokens.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Until the first output.",
)
@click.option("--show-thinking", is_flag=True, help="Write what the model thinks to stderr.")
@json_option
def command(
    agent: str, prompt: str, path: Path, system: str | None, as_json: bool, **given: Any
) -> None:
    """Ask AGENT and stream its answer to stdout; tokens and cost go to stderr.

    PROMPT `-` reads standard input. Ctrl-C stops the provider and books what was used.
    """
    config = load(path)
    check_agent(config, agent)
    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise click.UsageError("the prompt is empty")
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    show_thinking = given.pop("show_thinking")
    asked = _Question(agent, messages, given, show_text=not as_json, show_thinking=show_thinking)
    with warnings_echoed():
        response = asyncio.run(asked.answer(config))
    if as_json:
        print_json(_as_dict(response))
    else:
        click.echo(_account(response), err=True)


class _Question:
    """One question to one agent."""

    def __init__(
        self,
        agent: str,
        messages: list[dict[str, str]],
        given: dict[str, Any],
        *,
        show_text: bool,
        show_thinking: bool,
    ) -> None:
        self.agent = agent
        self.messages = messages
        self.given = given
        self.show_text = show_text
        self.show_thinking = show_thinking
        self.thought = self.written = False
        self.waiting = WaitingLine(self._waited_for)
        self.tried: Callable[[], tuple[Attempt, ...]] = tuple

    async def answer(self, config: Config) -> LLMResponse:
        """Return the answer; what arrives is shown as it does."""
        from orchestify.providers.registry import ProviderRegistry  # noqa: PLC0415 - slow to import

        with self.waiting:
            return await self._answer(ProviderRegistry.from_config(config))

    async def _answer(self, registry: ProviderRegistry) -> LLMResponse:
        async with registry:
            provider = registry.get_for_agent(self.agent)
            try:
                return await self._stream(provider)
            except asyncio.CancelledError:
                self.waiting.end()
                click.echo(f"interrupted; {_used(provider)}", err=True)
                raise

    async def _stream(self, provider: LLMProvider) -> LLMResponse:
        async with provider.stream(self.messages, **self.given) as stream:
            self.tried = lambda: stream.attempts
            try:
                async for event in stream.events():
                    self.waiting.end()
                    self._show(event)
            finally:
                if self.written:
                    _write("\n")
        return stream.response

    def _waited_for(self) -> str:
        failed = [each for each in self.tried() if each.error]
        line = f"waiting for the answer of {self.agent}"
        if not failed:
            return line
        last = failed[-1]
        return f"{line}; {plural(len(failed), 'attempt')} failed, {last.provider}: {last.error}"

    def _show(self, event: ReaderEvent) -> None:
        from orchestify.values import TextDelta, ThinkingDelta  # noqa: PLC0415 - slow to import

        if isinstance(event, ThinkingDelta) and self.show_thinking:
            self.thought = True
            click.secho(_shown(event.text, sys.stderr), dim=True, nl=False, err=True)
        elif isinstance(event, TextDelta) and self.show_text:
            if self.thought:
                self.thought = False
                click.echo("\n", err=True)
            self.written = True
            _write(event.text)


def _write(text: str) -> None:
    click.echo(_shown(text, sys.stdout), nl=False)


def _shown(text: str, stream: Any) -> str:
    """Return text as it is, but on a terminal without what could control it."""
    return without_controls(text) if stream.isatty() else text


def _account(response: LLMResponse) -> str:
    if response.is_cached:
        saved = "" if response.saved_usd is None else f", saved {usd(response.saved_usd)}"
        where = f"{response.provider}/{without_controls(response.model)}"
        return f"{where} | from the response cache{saved} | {response.latency_s:.1f} s"
    parts = [
        f"{response.provider}/{without_controls(response.model)}",
        f"{count(response.tokens_input)} in, {count(response.tokens_output)} out",
        f"{usd(response.cost_usd)} ({response.cost_source})"
        if response.cost_usd is not None
        else "cost unknown",
        f"{response.latency_s:.1f} s",
    ]
    if len(response.attempts) > 1:
        parts.append(plural(len(response.attempts), "attempt"))
    if response.finish_reason != "stop":
        parts.append(f"ended by {response.finish_reason}")
    return " | ".join(parts)


def _used(provider: LLMProvider) -> str:
    usage = provider.get_usage()
    cost = "cost unknown" if usage.unpriced_calls else usd(usage.total_cost_usd)
    return f"booked {count(usage.total_input)} in, {count(usage.total_output)} out, {cost}"


def _as_dict(response: LLMResponse) -> dict[str, Any]:
    return {
        "content": response.content,
        "thinking": str(response.thinking) if response.thinking else None,
        "provider": response.provider,
        "model": response.model,
        "finish_reason": response.finish_reason,
        "usage": response.usage,
        "cost_usd": response.cost_usd,
        "cost_source": response.cost_source,
        "latency_s": response.latency_s,
        "attempts": response.attempts,
        "call_id": response.call_id,
        "is_cached": response.is_cached,
        "saved_usd": response.saved_usd,
    }
