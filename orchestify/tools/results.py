"""What a run gives back: turns, results of tools, sums; and the events of its stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from orchestify.errors import OrchestifyError
from orchestify.values import (
    Content,
    LLMMessage,
    LLMResponse,
    TextDelta,
    ThinkingDelta,
    TokenUsage,
    ToolCall,
    ToolCallDelta,
)

ToolOutcome: TypeAlias = Literal[
    "ok", "unknown_tool", "invalid_arguments", "raised", "timed_out", "unusable_result", "not_run"
]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of one call of a tool; `content` is what the model is told.

    `outcome` is `ok`, or why the function has no result; it was not called where that is
    `unknown_tool`, `invalid_arguments` or `not_run`. `exception` is what it raised, for the host
    alone: the model is told its class.
    """

    call: ToolCall
    content: Content = field(repr=False)
    outcome: ToolOutcome = "ok"
    exception: BaseException | None = field(default=None, repr=False)
    latency_s: float = 0.0

    def to_message(self) -> LLMMessage:
        """Return the result as the message that answers the call."""
        return LLMMessage("tool", self.content, tool_call_id=self.call.id, name=self.call.name)


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model, and the results of the tools that it called, in its order."""

    response: LLMResponse
    results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run.

    `messages` is the whole conversation, to go on from; after a limit it ends where every call has
    its result, so a last answer whose tools were not run is in `turns` alone.
    """

    turns: tuple[Turn, ...]
    messages: tuple[LLMMessage, ...] = field(repr=False)

    @property
    def response(self) -> LLMResponse:
        """The last answer.

        Raises:
            OrchestifyError: a limit ended the run before its first answer.
        """
        if not self.turns:
            raise OrchestifyError("the run ended before its first answer")
        return self.turns[-1].response

    @property
    def content(self) -> str:
        """The text of the last answer."""
        return self.turns[-1].response.content if self.turns else ""

    @property
    def parsed(self) -> Any:
        """The last answer in the form that `response_format` asks for."""
        return self.response.parsed

    @property
    def cost_usd(self) -> Decimal | None:
        """What the answers cost in USD; None where nobody knows what one of them did."""
        costs = [turn.response.cost_usd for turn in self.turns]
        known = [cost for cost in costs if cost is not None]
        return sum(known, Decimal(0)) if len(known) == len(costs) else None

    @property
    def usage(self) -> TokenUsage:
        """The tokens of all answers; its cost leaves out what nobody knows, and counts it.

        What the response cache answered is no call, and has no tokens.
        """
        answers = [turn.response for turn in self.turns]
        known = [each.cost_usd for each in answers if each.cost_usd is not None]
        return TokenUsage(
            total_input=sum(each.tokens_input for each in answers),
            total_output=sum(each.tokens_output for each in answers),
            total_cost_usd=float(sum(known, Decimal(0))),
            call_count=sum(not each.is_cached for each in answers),
            unpriced_calls=len(answers) - len(known),
        )


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """An answer of the model is whole; where it calls tools, these run now."""

    response: LLMResponse


@dataclass(frozen=True, slots=True)
class ToolStart:
    """A call of a tool begins."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolEnd:
    """A call of a tool has its result."""

    result: ToolResult


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The run has its answer."""

    result: RunResult


RunEvent: TypeAlias = (
    TextDelta | ThinkingDelta | ToolCallDelta | AnswerEnd | ToolStart | ToolEnd | RunEnd
)
