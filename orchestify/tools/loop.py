"""The tool loop: answers and tools in turn, until an answer calls none or a limit is reached."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from orchestify.calls.messages import MessagesLike
from orchestify.calls.request import Call, ThinkingLike, TurnKeywords, call_of
from orchestify.calls.stream import CompletionStream
from orchestify.errors import InvalidParameterError, OrchestifyError, RunLimitError
from orchestify.ledger.record import SCOPE, Scope, in_scope
from orchestify.tools.results import (
    AnswerEnd,
    RunEnd,
    RunEvent,
    RunResult,
    ToolEnd,
    ToolResult,
    ToolStart,
    Turn,
)
from orchestify.tools.running import ToolRunner, not_run
from orchestify.tools.toolset import ToolSet
from orchestify.values import (
    LLMMessage,
    LLMResponse,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)

T = TypeVar("T")

_LIMITS: Mapping[str, tuple[type[int | float | Decimal], ...]] = {
    "max_turns": (int,),
    "max_cost_usd": (int, float, Decimal),
    "timeout_s": (int, float),
    "tool_timeout_s": (int, float),
}
_REFUSED = frozenset({"refusal", "content_filter"})  # the calls of such an answer are not run


class RunKeywords(TurnKeywords, total=False):
    """What `run` and `run_stream` take beside messages and tools; None is as good as unwritten.

    The limits are those of the whole run: `max_turns` answers of the model (10), `timeout_s`
    seconds, `max_cost_usd`. An answer is asked for only where what it may cost at most fits in what
    is left. `tool_timeout_s` is for one call of a tool (60). All else holds for every answer, but
    that a `tool_choice` which forces a call holds for the first alone.
    """

    model: str | None
    temperature: float | None
    max_tokens: int | None
    thinking: ThinkingLike | None
    max_turns: int | None
    max_cost_usd: float | Decimal | None
    timeout_s: float | None
    tool_timeout_s: float | None


class Answering(Protocol):
    """A provider, as far as a run needs one."""

    @property
    def complete(self) -> Callable[..., Awaitable[LLMResponse]]:
        """Return a whole answer; see `LLMProvider.complete`."""

    @property
    def stream(self) -> Callable[..., Any]:
        """Return an answer as it arrives; see `LLMProvider.stream`."""


@dataclass(slots=True)
class ToolLoop:
    """One run: its conversation so far, and what bounds it.

    `highest_cost_usd` says what one attempt at a call may cost at most, None where nobody knows.
    `given` are the keywords of every answer. `scope` is what was in force where the run was made: a
    stream may be read elsewhere. `deadline` is a moment of the event loop's clock.
    """

    provider: Answering
    highest_cost_usd: Callable[[Call], Decimal | None] = field(repr=False)
    messages: list[LLMMessage] = field(repr=False)
    tools: ToolSet
    given: dict[str, Any] = field(repr=False)
    is_stream: bool = False
    scope: Scope = field(default_factory=SCOPE.get)
    max_turns: int = 10
    max_cost_usd: Decimal | None = None
    timeout_s: float | None = None
    tool_timeout_s: float = 60.0
    turns: list[Turn] = field(default_factory=list, repr=False)
    spent_usd: Decimal = Decimal(0)
    deadline: float | None = None

    async def events(self) -> AsyncGenerator[RunEvent, None]:
        """Run, and yield what happens; the last is `RunEnd`.

        Raises:
            RunLimitError: a limit is reached; it holds what came so far.
            InvalidParameterError: `max_cost_usd` is given, and nobody knows the price.
            OrchestifyError: what `complete` or `stream` raises.
        """
        if self.timeout_s is not None:
            self.deadline = asyncio.get_running_loop().time() + self.timeout_s
        runner = ToolRunner(self.tools.functions, self.tool_timeout_s, self.scope)
        while True:
            highest_usd = self._fitting_usd()
            if self.is_stream:
                async with self._stream() as stream:
                    while event := await self._within(stream.next_event()):
                        if isinstance(event, (TextDelta, ThinkingDelta, ToolCallDelta)):
                            yield event
                response = stream.response
            else:
                response = await self._within(self.provider.complete(**self._arguments()))
            cost_usd = highest_usd if response.cost_usd is None else response.cost_usd
            self.spent_usd += cost_usd or Decimal(0)
            yield AnswerEnd(response)
            if _is_last(response):
                self._end_turn(response, [])
                yield RunEnd(self.so_far())
                return
            if len(self.turns) + 1 >= self.max_turns:
                self.turns.append(Turn(response))
                raise self._reached(
                    "max_turns", f"{self.max_turns} answers came, none was the last"
                )
            results: list[ToolResult] = []
            async for each in self._run_tools(runner, response):
                if isinstance(each, ToolEnd):
                    results.append(each.result)
                yield each
            self._end_turn(response, results)

    def so_far(self) -> RunResult:
        """Return what has come until now."""
        return RunResult(tuple(self.turns), tuple(self.messages))

    async def _run_tools(
        self, runner: ToolRunner, response: LLMResponse
    ) -> AsyncGenerator[ToolStart | ToolEnd, None]:
        """Run the calls of an answer; none of one that was cut, as a call may be cut as well."""
        calls = response.tool_calls
        if response.finish_reason == "length":
            for call in calls:
                yield ToolEnd(not_run(call))
            return
        for call in calls:
            yield ToolStart(call)
        async with aclosing(runner.results(calls)) as results:
            while result := await self._within(anext(results, None)):
                yield ToolEnd(result)

    def _end_turn(self, response: LLMResponse, results: list[ToolResult]) -> None:
        """Take an answer and its tools' results, in the calls' order, into the conversation."""
        results.sort(key=lambda each: response.tool_calls.index(each.call))
        self.turns.append(Turn(response, tuple(results)))
        self.messages += [response.to_message(), *(each.to_message() for each in results)]

    def _arguments(self) -> dict[str, Any]:
        given = self.given
        choice = given.get("tool_choice")
        if self.turns and choice is not None and choice.mode in {"required", "tool"}:
            given = {**given, "tool_choice": replace(choice, mode="auto", name=None)}
        return {"messages": self.messages, "tools": self.tools.tools or None, **given}

    def _stream(self) -> CompletionStream:
        with in_scope(self.scope):
            stream = self.provider.stream(**self._arguments())
        if not isinstance(stream, CompletionStream):
            raise InvalidParameterError(
                f"{type(self.provider).__name__}.stream has no events; register the provider, and "
                "call it as registry.get returns it"
            )
        return stream

    def _fitting_usd(self) -> Decimal | None:
        """Return what the next answer may cost at most, where the cost has a limit."""
        if self.max_cost_usd is None:
            return None
        highest_usd = self.highest_cost_usd(call_of(**self._arguments()))
        if highest_usd is None:
            raise InvalidParameterError(
                "max_cost_usd needs the price of every target, and nobody knows one of them; write "
                "it as price: at the provider"
            )
        if self.spent_usd + highest_usd > self.max_cost_usd:
            raise self._reached(
                "max_cost_usd",
                f"{self.spent_usd} of {self.max_cost_usd} USD are spent, the next answer may cost "
                f"{highest_usd}",
            )
        return highest_usd

    async def _within(self, coming: Awaitable[T]) -> T:
        """Return what is awaited, within the run's time."""
        timer = asyncio.timeout_at(self.deadline)
        try:
            async with timer:
                return await coming
        except TimeoutError as error:
            if isinstance(error, OrchestifyError) or not timer.expired():
                raise
        raise self._reached("timeout_s", f"no last answer within {self.timeout_s:g} s")

    def _reached(self, limit: str, what: str) -> RunLimitError:
        return RunLimitError(f"{limit}: {what}", limit=limit, result=self.so_far())


def tool_loop(
    provider: Answering,
    highest_cost_usd: Callable[[Call], Decimal | None],
    messages: MessagesLike,
    tools: ToolSet,
    keywords: RunKeywords,
    *,
    is_stream: bool = False,
) -> ToolLoop:
    """Check a run's arguments and return it, not begun.

    Raises:
        InvalidParameterError: one of them cannot be used; the message names it.
        TypeError: a keyword that `RunKeywords` does not have.
    """
    given: dict[str, Any] = {key: each for key, each in keywords.items() if each is not None}
    unknown = given.keys() - RunKeywords.__annotations__.keys()
    if unknown:
        raise TypeError(f"a run got an unexpected keyword argument {min(unknown)!r}")
    limits = {name: _limit(name, given.pop(name)) for name in _LIMITS if name in given}
    if "max_cost_usd" in limits:
        limits["max_cost_usd"] = Decimal(str(limits["max_cost_usd"]))
    call = call_of(messages, tools=tools.tools, **given)
    if call.tool_choice is not None:
        given["tool_choice"] = call.tool_choice
    conversation = list(call.messages)
    return ToolLoop(provider, highest_cost_usd, conversation, tools, given, is_stream, **limits)


class RunStream:
    """A run that is under way; nothing is sent before the first piece is asked for.

    Iterate over it for the text of all answers, or over `events()` for all that happens. After its
    end `result` is the whole. `aclose`, leaving `async with` and cancelling the task end the answer
    and the tools that are under way, and book what was used.

        async with agent.run_stream("hello", tools=[look_up]) as stream:
            async for text in stream:
                print(text, end="", flush=True)
        print(stream.result.usage)
    """

    def __init__(self, loop: ToolLoop) -> None:
        self._loop = loop
        self._events = loop.events()
        self._result: RunResult | None = None

    @property
    def result(self) -> RunResult:
        """What came of the run.

        Raises:
            OrchestifyError: it has not been read to its end.
        """
        if self._result is None:
            raise OrchestifyError("the run has not ended; read it to its end first")
        return self._result

    @property
    def so_far(self) -> RunResult:
        """The turns that have ended until now, whatever ended the run."""
        return self._loop.so_far()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """Return the next piece of text. Raises what `LLMProvider.run` raises."""
        async for event in self.events():
            if isinstance(event, TextDelta):
                return event.text
        raise StopAsyncIteration

    async def events(self) -> AsyncIterator[RunEvent]:
        """Iterate over typed events; the last is `RunEnd`. Raises what iterating raises."""
        while (event := await anext(self._events, None)) is not None:
            if isinstance(event, RunEnd):
                self._result = event.result
            yield event

    async def aclose(self) -> None:
        """End what is under way and book it; harmless at or after the end."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def _is_last(response: LLMResponse) -> bool:
    """Whether nothing follows an answer: it calls no tools, and its provider did not pause it."""
    if response.finish_reason in _REFUSED:
        return True
    return not response.tool_calls and response.finish_reason != "pause"


def _limit(name: str, value: Any) -> Any:
    """Return a limit that can be used: a number above 0, whole where it counts."""
    if isinstance(value, bool) or not isinstance(value, _LIMITS[name]):
        kind = "whole number" if _LIMITS[name] == (int,) else "number"
        raise InvalidParameterError(f"{name} is a {kind}, not a {type(value).__name__}")
    if not (math.isfinite(value) and value > 0):
        raise InvalidParameterError(f"{name} is above 0, not {value}")
    return value
