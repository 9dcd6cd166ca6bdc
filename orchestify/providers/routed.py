"""What a registry gives for an agent, a default chain, or a host's own provider."""

from __future__ import annotations

from orchestify.calls.route import Route
from orchestify.models.model_map import has_thinking, has_tools
from orchestify.providers.base import LLMProvider


class RoutedProvider(LLMProvider):
    """A provider whose calls take a route over one target or several.

    What it is asked about itself is answered by its first target: by what is known of the
    model there, else by the provider.
    """

    def __init__(self, route: Route, first: LLMProvider) -> None:
        """`first` is the provider of the route's first target."""
        self.provider_id = route.targets[0].provider_id
        self.route = route
        self._call_route = route
        self._first = first

    @property
    def provider_type(self) -> str:
        """The type of the first target's provider."""
        return self._first.provider_type

    def supports_tools(self) -> bool:
        """Whether the first target's model can call tools, as far as is known."""
        entry = self.route.runtime.entry(self.route.targets[0])
        return self._first.supports_tools() if entry is None else has_tools(entry)

    def supports_thinking(self) -> bool:
        """Whether the first target's model has extended thinking, as far as is known."""
        target = self.route.targets[0]
        entry = self.route.runtime.entry(target)
        if entry is None:
            return self._first.supports_thinking()
        return has_thinking(target.model, entry)

    def supports_code_execution(self) -> bool:
        """Whether the first target's provider can run code that the model writes."""
        return self._first.supports_code_execution()

    async def list_models(self) -> list[str] | None:
        """Return the models the first target's provider lists, by a free request."""
        return await self._first.list_models()

    def __repr__(self) -> str:
        return repr(self.route)
