"""The interface of every provider, and what its callers see of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable
from functools import partial
from typing import Unpack

from orchestify.calls.embedding import EmbeddingKeywords, TextsLike, embedding_call_of
from orchestify.calls.messages import MessagesLike
from orchestify.calls.request import CallKeywords, Defaults, ThinkingLike, ToolLike, call_of
from orchestify.calls.route import Route
from orchestify.calls.stream import CompletionStream
from orchestify.calls.sync import synchronous, synchronous_stream
from orchestify.errors import InvalidParameterError
from orchestify.health.health import Health, ProviderHealth
from orchestify.health.monitor import CHECK_TIMEOUT_S, Monitor, check
from orchestify.models.estimate import count_tokens
from orchestify.models.pricing import CostRange
from orchestify.values import (
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

__all__ = ["LLMMessage", "LLMProvider", "LLMResponse", "TokenUsage"]


class LLMProvider(ABC):
    """What a host calls: `complete` and `stream`, asynchronous or not.

    A provider of a host's own overrides either `complete` and `stream`, or `send` and
    `open_stream`, and is registered with `ProviderRegistry.register`; the registry calls it
    through the same path as its own and books what its answers say.
    """

    provider_id: str = ""
    _call_route: Route | None = None  # its registry's, once it is registered

    @property
    @abstractmethod
    def provider_type(self) -> str:
        """`anthropic`, `openai`, `litellm`, `mock`, or a host's own word."""

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

    complete_sync = synchronous(complete)
    stream_sync = synchronous_stream(stream)
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
        raise InvalidParameterError(f"{self.provider_id or type(self).__name__} has no embeddings")

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
        return TokenUsage() if route is None else route.get_usage()

    def reset_usage(self) -> None:
        """Start a new period; a call under way is counted in the new one."""
        route = self._call_route or self._make_call_route()
        if route is not None:
            route.reset_usage()

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
        checks = {self.provider_id: partial(check, self)}
        found = await Monitor(checks, health, timeout_s=timeout_s).check_now()
        return found[self.provider_id]

    async def aclose(self) -> None:
        """Close what is open."""

    def _make_call_route(self) -> Route | None:
        """Return the route of a provider that no registry has taken; None where it has none."""
        return None
