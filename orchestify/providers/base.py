"""The interface of every provider, and what its callers see of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Unpack, overload

from orchestify.batches.many import (
    CONCURRENCY,
    BatchResult,
    ManyKeywords,
    Requests,
    map_requests,
)
from orchestify.calls.embedding import EmbeddingKeywords, TextsLike, embedding_call_of
from orchestify.calls.messages import MessagesLike
from orchestify.calls.request import (
    Call,
    CallKeywords,
    Defaults,
    FormedCallKeywords,
    ThinkingLike,
    ToolLike,
    call_of,
)
from orchestify.calls.route import Route
from orchestify.calls.stream import CompletionStream
from orchestify.calls.sync import synchronous, synchronous_stream
from orchestify.calls.target import Target
from orchestify.core.providers import ProviderConfig
from orchestify.errors import InvalidParameterError
from orchestify.health.health import Health, ProviderHealth
from orchestify.health.monitor import CHECK_TIMEOUT_S, Monitor, check
from orchestify.models.estimate import count_tokens
from orchestify.models.pricing import CostRange
from orchestify.providers.tracked_usage import tracked_by
from orchestify.values import (
    NOTHING,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    LLMMessage,
    LLMResponse,
    NativeRequest,
    StreamEvent,
    TokenCount,
    TokenUsage,
)

if TYPE_CHECKING:
    from orchestify.batches.provider_batches import ProviderBatch
    from orchestify.tools.functions import FunctionTool
    from orchestify.tools.loop import RunKeywords, RunStream
    from orchestify.tools.results import RunResult
    from orchestify.tools.toolset import RunToolLike

__all__ = ["LLMMessage", "LLMProvider", "LLMResponse", "TokenUsage"]

_log = logging.getLogger("orchestify.usage")

FormT = TypeVar("FormT")


class Holder(Protocol):
    """What has a provider registered."""

    def holds(self, provider: LLMProvider) -> bool:
        """Whether calls of the provider are its own now."""


class LLMProvider:
    """What a host calls: `complete` and `stream`, asynchronous or not.

    A provider of a host's own overrides `complete` or `send`, and where it can stream also
    `stream` or `open_stream`, and is registered with `ProviderRegistry.register`; the registry
    calls it through the same path as its own and books what its answers say. Its constructor need
    not be called.
    """

    provider_id: str = ""
    config: ProviderConfig | Mapping[str, Any] | None = None
    _call_route: Route | None = None  # its registry's, once it is registered
    _usage_alone: TokenUsage = TokenUsage()  # what it has tracked without a registry
    _functions: Mapping[str, Any] = NOTHING  # its registry's tools, by name
    _tool_names: tuple[str, ...] = ()  # its agent's
    holder: Holder | None = None  # who has it registered, or had it last

    def __init__(
        self, provider_id: str = "", config: ProviderConfig | Mapping[str, Any] | None = None
    ) -> None:
        """Keep a name and a configuration, for a host's own class to read."""
        self.provider_id = provider_id
        self.config = config

    @property
    def provider_type(self) -> str:
        """`anthropic`, `openai`, `litellm`, `mock`, or a host's own word."""
        return "external"

    @overload
    async def complete(
        self,
        messages: MessagesLike,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        tools: Iterable[ToolLike] | None = None,
        thinking: ThinkingLike | None = None,
        *,
        response_format: type[FormT],
        **keywords: Unpack[FormedCallKeywords],
    ) -> LLMResponse[FormT | None]: ...
    @overload
    async def complete(
        self,
        messages: MessagesLike,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        tools: Iterable[ToolLike] | None = None,
        thinking: ThinkingLike | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> LLMResponse: ...
    async def complete(
        self,
        messages: MessagesLike,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        tools: Iterable[ToolLike] | None = None,
        thinking: ThinkingLike | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> LLMResponse:
        """Send a conversation and return the answer.

        None means: what the agent, then the provider, configures; what nobody configures is
        not sent. What is taken by keyword only stands in `CallKeywords`.

        Raises:
            InvalidParameterError: an argument cannot be used, or the model cannot think.
            APIError: one target failed; a subclass says how.
            AllTargetsFailedError: several targets were tried, and all failed.
            BudgetExceededError: a hard budget has no room for the call.
        """
        call = call_of(messages, model, temperature, max_tokens, tools, thinking, **keywords)
        route = self._call_route or self._make_call_route()
        if route is None:
            return await self.send(call.request(Defaults(), model=call.model or ""))
        return await route.complete(call)

    def stream(
        self,
        messages: MessagesLike,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        tools: Iterable[ToolLike] | None = None,
        thinking: ThinkingLike | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> CompletionStream:
        """Return the answer as it arrives; takes what `complete` takes.

        Raises:
            InvalidParameterError: an argument cannot be used. All else is raised on iterating.
        """
        call = call_of(messages, model, temperature, max_tokens, tools, thinking, **keywords)
        route = self._call_route or self._make_call_route()
        if route is None:
            request = call.request(Defaults(), model=call.model or "")
            return CompletionStream(self.open_stream(request))
        return route.stream(call)

    async def run(
        self,
        messages: MessagesLike,
        tools: Iterable[RunToolLike] | RunToolLike | None = None,
        **keywords: Unpack[RunKeywords],
    ) -> RunResult:
        """Let the model call tools until it has its answer, and return all turns.

        A tool is a Python function, the name or the schema of one that `register_tool` has
        registered, or a tool that the provider runs itself. Without `tools` they are the agent's.
        `RunKeywords` says what else is taken, and what bounds a run.

        Raises:
            RunLimitError: a limit ended the run; its `result` is what came so far.
            InvalidParameterError: an argument cannot be used.
            OrchestifyError: what `complete` raises.
        """
        async with self._run(messages, tools, keywords) as run:
            async for _ in run.events():
                pass
        return run.result

    def run_stream(
        self,
        messages: MessagesLike,
        tools: Iterable[RunToolLike] | RunToolLike | None = None,
        **keywords: Unpack[RunKeywords],
    ) -> RunStream:
        """Return a run as it goes; takes what `run` takes.

        Raises:
            InvalidParameterError: an argument cannot be used. All else is raised on iterating.
        """
        return self._run(messages, tools, keywords, is_stream=True)

    def _run(
        self,
        messages: MessagesLike,
        tools: Iterable[RunToolLike] | RunToolLike | None,
        keywords: RunKeywords,
        *,
        is_stream: bool = False,
    ) -> RunStream:
        from orchestify.tools.loop import RunStream, tool_loop  # noqa: PLC0415 - few hosts run
        from orchestify.tools.toolset import tool_set  # noqa: PLC0415

        given = tool_set(tools, self._tool_names, self._functions)
        return RunStream(
            tool_loop(self, self._highest_cost_usd, messages, given, keywords, is_stream=is_stream)
        )

    async def embed(
        self,
        texts: TextsLike,
        model: str | None = None,
        dimensions: int | None = None,
        **keywords: Unpack[EmbeddingKeywords],
    ) -> EmbeddingResponse:
        """Return a vector for each text, in order; more than one request takes are sent in several.

        `texts` is one text or several; a text may be given as its tokens, to providers that take
        them. All vectors are of one model at one provider: where a `model` is named, no other is
        tried but what `fallback` names. What is taken by keyword only stands in
        `EmbeddingKeywords`.

        Raises:
            InvalidParameterError: an argument cannot be used, or the provider has no embeddings.
            APIError, AllTargetsFailedError, BudgetExceededError: as `complete`. What was embedded
                by then is booked.
        """
        call = embedding_call_of(texts, model, dimensions, **keywords)
        route = self._call_route or self._make_call_route()
        if route is None:
            return await self.embed_inputs(call.request(Defaults(), model=call.model or ""))
        return await route.embed(call)

    def map(
        self,
        requests: Requests,
        *,
        concurrency: int = CONCURRENCY,
        ordered: bool = True,
        **keywords: Unpack[ManyKeywords],
    ) -> AsyncGenerator[BatchResult, None]:
        """Ask many requests, `concurrency` of them at once, and yield a result for each.

        A request is a prompt, messages, a mapping of `complete`'s arguments (with a `custom_id`,
        where it is to have one), or an object of OpenAI's batch form; `requests`, an iterable or an
        asynchronous one, is read only as fast as results are. Each is a call as `complete` makes
        it; an error is a result. Results come in the requests' order, or without `ordered` as they
        are there. `keywords` hold for every request that does not say otherwise.

        Leaving the loop early cancels what is under way; `contextlib.aclosing` does so at once.

        Raises:
            InvalidParameterError: `requests` or `concurrency` cannot be used; nothing was sent.
            Exception: what `requests` itself raised, after the results of those before it.
        """
        return map_requests(self.complete, requests, concurrency, keywords, ordered=ordered)

    async def complete_many(
        self,
        requests: Requests,
        *,
        concurrency: int = CONCURRENCY,
        **keywords: Unpack[ManyKeywords],
    ) -> list[BatchResult]:
        """Ask many requests and return their results in order; see `map`."""
        async with aclosing(
            self.map(requests, concurrency=concurrency, ordered=False, **keywords)
        ) as results:
            found = [result async for result in results]
        return sorted(found, key=lambda result: result.index)

    async def batch(self, requests: Requests, **keywords: Unpack[ManyKeywords]) -> ProviderBatch:
        """Leave many requests to the provider's batch API, at its lower price, within 24 hours.

        Requests are those of `map`; all go to the first target, with no retry and no fallback.
        The most that the batch may cost is held in its budgets, until it is fetched or a day after
        it expired or was cancelled. Go on with `ProviderRegistry.batches`, in any process.
        Where an earlier submission of the same requests was left open, and the provider has the
        batch, that one is returned. Nothing of the requests is kept here.

        Raises:
            InvalidParameterError: a request cannot be used, the provider has no batch API, or the
                ledger is in memory.
            BudgetExceededError: a hard budget has no room for the whole batch; nothing was sent.
            BatchStateError: whether the batch was made is not known; its id is in the error.
            APIError: the provider refused it.
        """
        # the lanes' batch APIs bring aiohttp: 80 ms
        from orchestify.batches.batch_plan import ONE_BY_ONE  # noqa: PLC0415
        from orchestify.batches.provider_batches import ProviderBatches  # noqa: PLC0415

        route = self._call_route or self._make_call_route()
        if route is None:
            raise InvalidParameterError(
                f"{self.provider_id or type(self).__name__} has no batch API; {ONE_BY_ONE}"
            )

        def resolve(provider_id: str, model: str, _: str) -> Target:
            return route.found(provider_id, model)

        return await ProviderBatches(route.runtime, resolve).submit(route, requests, keywords)

    batch_sync = synchronous(batch)
    complete_sync = synchronous(complete)
    complete_many_sync = synchronous(complete_many)
    stream_sync = synchronous_stream(stream)
    run_sync = synchronous(run)
    embed_sync = synchronous(embed)

    async def send(self, request: CompletionRequest) -> LLMResponse:
        """Send one request, once, and return the whole answer.

        Raises:
            APIError: a subclass that says what failed.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither complete nor send")

    async def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        """Send one request, once, and yield its events; see `orchestify.lanes.lane.Lane`."""
        raise NotImplementedError(f"{type(self).__name__} defines neither stream nor open_stream")
        yield  # makes this an async generator

    async def embed_inputs(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Embed the inputs of one request, sent once; see `orchestify.lanes.lane.Lane`."""
        name = self.provider_id or type(self).__name__
        error = InvalidParameterError(f"{name} has no embeddings")
        error.param = "model"
        raise error

    def count_tokens(
        self,
        messages: MessagesLike,
        tools: Iterable[ToolLike] | None = None,
        model: str | None = None,
    ) -> int:
        """Return about how many input tokens a call would have; nothing is sent.

        Raises:
            InvalidParameterError: an argument cannot be used.
        """
        call = call_of(messages, model, tools=tools)
        route = self._call_route or self._make_call_route()
        if route is None:
            return count_tokens(call.messages, call.tools, call.model or "")
        return route.count_tokens(call)

    async def count_tokens_exact(
        self,
        messages: MessagesLike,
        tools: Iterable[ToolLike] | None = None,
        model: str | None = None,
        native: NativeRequest | None = None,
    ) -> TokenCount:
        """Return how many input tokens a call would have, by a free request where there is one.

        Anthropic and Gemini count; elsewhere it is our estimate, and `source` says so. `native` is
        the request in the words of a protocol, for targets that speak it.

        Raises:
            InvalidParameterError: an argument cannot be used.
            APIError: the provider could not be asked.
        """
        call = call_of(messages, model, tools=tools, native=native)
        route = self._call_route or self._make_call_route()
        if route is None:
            tokens = count_tokens(call.messages, call.tools, call.model or "")
            return TokenCount(tokens, "estimated")
        return await route.count_tokens_exact(call)

    def estimate_cost(
        self,
        messages: MessagesLike,
        max_tokens: int | None = None,
        tools: Iterable[ToolLike] | None = None,
        model: str | None = None,
    ) -> CostRange:
        """Return what one attempt would cost in USD, at least and at most; nothing is sent.

        From the input alone, estimated and a quarter less, to the input and a quarter more with
        as much output as the call may have. A cache may make it cheaper.

        Raises:
            InvalidParameterError: an argument cannot be used.
        """
        call = call_of(messages, model, None, max_tokens, tools)
        route = self._call_route or self._make_call_route()
        return CostRange() if route is None else route.estimate_cost(call)

    def supports_tools(self) -> bool:
        """Whether the default model can call tools, as far as is known."""
        return True

    def supports_thinking(self) -> bool:
        """Whether the default model has extended thinking, as far as is known."""
        return False

    def supports_code_execution(self) -> bool:
        """Whether the provider itself can run code that the model writes."""
        return False

    def get_usage(self) -> TokenUsage:
        """Return the usage since the last reset."""
        route = self._call_route or self._make_call_route()
        return replace(self._usage_alone) if route is None else route.get_usage()

    def reset_usage(self) -> None:
        """Start a new period; a call under way is counted in the new one."""
        route = self._call_route or self._make_call_route()
        self._usage_alone = TokenUsage()
        if route is not None:
            route.reset_usage()

    def join(
        self,
        route: Route,
        functions: Mapping[str, FunctionTool] = NOTHING,
        tool_names: tuple[str, ...] = (),
    ) -> None:
        """Let the calls take a registry's route from now on, and the runs use its tools."""
        self._call_route = route
        self._functions, self._tool_names = functions, tool_names

    def _track_usage(
        self, input_tokens: int, output_tokens: int, cost_usd: float | Decimal | None = None
    ) -> None:
        """Tell what the present call used; for a host's own class, from its `complete` or `stream`.

        The registry books it as the call's usage, unless the answer itself says what was used.
        Where no registry calls the provider, `get_usage` of the provider counts it.
        """
        tracked = tracked_by(self)
        if tracked is not None:
            tracked.add(input_tokens, output_tokens, cost_usd)
        elif self._call_route is not None:
            _log.warning(
                "%s told of usage outside a call of its registry, which is not booked; call it as "
                "registry.get(%r) returns it",
                *(type(self).__name__, self.provider_id),
            )
        else:
            alone = self._usage_alone
            self._usage_alone = TokenUsage(
                alone.total_input + input_tokens,
                alone.total_output + output_tokens,
                alone.total_cost_usd + float(cost_usd or 0),
                alone.call_count + 1,
                alone.unpriced_calls + (cost_usd is None),
            )

    async def list_models(self) -> list[str] | None:
        """Return the models the provider offers, by a free request; None where there is none."""
        return None

    async def count_input(self, request: CompletionRequest) -> int | None:
        """Return the input tokens of a request, by a free request; None where there is none."""
        return None

    async def health_check(self, timeout_s: float = CHECK_TIMEOUT_S) -> ProviderHealth:
        """Ask the provider by a free request, for `timeout_s` at most, and return its health.

        What its calls did counts as well. `unknown` is what has no free request and no calls.
        """
        route = self._call_route or self._make_call_route()
        health = Health() if route is None else route.runtime.health
        checks = {self.provider_id: self._check}
        found = await Monitor(checks, health, timeout_s=timeout_s).check_now()
        return found[self.provider_id]

    async def _check(self) -> bool | None:
        """Ask the provider by a free request; what a health check does."""
        return await check(self)

    async def aclose(self) -> None:
        """Close what is open."""

    def _highest_cost_usd(self, call: Call) -> Decimal | None:
        """Return what one attempt at a call costs at most, None where nobody knows."""
        route = self._call_route or self._make_call_route()
        return None if route is None else route.highest_cost_usd(call)

    def _make_call_route(self) -> Route | None:
        """Return the route of a provider that no registry has taken; None where it has none."""
        return None
