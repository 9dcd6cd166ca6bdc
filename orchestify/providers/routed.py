"""What a registry gives for an agent, a default chain, or a host's own provider."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from orchestify.calls.messages import MessagesLike
from orchestify.calls.request import ToolLike
from orchestify.calls.route import Route
from orchestify.models.model_map import has_thinking, has_tools
from orchestify.providers.base import LLMProvider
from orchestify.providers.configured import ConfiguredProvider
from orchestify.providers.own_methods import check_own, counts_itself, own_count
from orchestify.values import NativeRequest, TokenCount


class RoutedProvider(LLMProvider):
    """A provider whose calls take a route over one target or several.

    What it is asked about itself is answered by its first target: by what is known of the
    model there, else by the provider. A host's own provider always answers itself.
    """

    def __init__(self, route: Route, first: LLMProvider) -> None:
        """`first` is the provider of the route's first target."""
        super().__init__(route.targets[0].provider_id)
        self.route = route
        self._call_route = route
        self._first = first
        self._is_own = not isinstance(first, ConfiguredProvider)

    def is_same_as(self, other: RoutedProvider) -> bool:
        """Whether its calls reach the same targets, over the same connections.

        An agent's own settings are not compared.
        """
        return self.route.targets == other.route.targets and self._first is other._first

    @property
    def provider_type(self) -> str:
        """The type of the first target's provider."""
        return self._first.provider_type

    def supports_tools(self) -> bool:
        """Whether the first target's model can call tools, as far as is known."""
        entry = self.route.runtime.entry(self.route.targets[0])
        if entry is None or self._is_own:
            return self._first.supports_tools()
        return has_tools(entry)

    def supports_thinking(self) -> bool:
        """Whether the first target's model has extended thinking, as far as is known."""
        target = self.route.targets[0]
        entry = self.route.runtime.entry(target)
        if entry is None or self._is_own:
            return self._first.supports_thinking()
        return has_thinking(target.model, entry)

    def supports_code_execution(self) -> bool:
        """Whether the first target's provider can run code that the model writes."""
        return self._first.supports_code_execution()

    async def list_models(self) -> list[str] | None:
        """Return the models the first target's provider lists, by a free request."""
        return await self._first.list_models()

    def count_tokens(
        self,
        messages: MessagesLike,
        tools: Iterable[ToolLike] | None = None,
        model: str | None = None,
    ) -> int:
        """Return about how many input tokens a call would have; nothing is sent.

        A host's own provider counts, where its `count_tokens` is no coroutine.

        Raises:
            InvalidParameterError: an argument cannot be used.
        """
        if not counts_itself(self._first):
            return super().count_tokens(messages, tools, model)
        return int(own_count(self._first, messages, tools, model))

    async def count_tokens_exact(
        self,
        messages: MessagesLike,
        tools: Iterable[ToolLike] | None = None,
        model: str | None = None,
        native: NativeRequest | None = None,
    ) -> TokenCount:
        """Return how many input tokens a call would have, counted by the provider if it counts.

        Raises:
            InvalidParameterError: an argument cannot be used.
            APIError: the provider could not be asked.
        """
        if type(self._first).count_tokens is LLMProvider.count_tokens:
            return await super().count_tokens_exact(messages, tools, model, native)
        counted = own_count(self._first, messages, tools, model)
        if inspect.isawaitable(counted):
            counted = await counted
        return TokenCount(int(counted), "reported")

    async def _check(self) -> bool | None:
        return await check_own(self._first)

    def __repr__(self) -> str:
        return repr(self.route)
