"""The base of the built-in providers: a configuration, its lane, and the route of its calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any, ClassVar, NoReturn

from pydantic import SecretStr

from orchestify.calls.route import Route
from orchestify.calls.runtime import Runtime
from orchestify.core.addresses import AddressRule
from orchestify.core.providers import ProviderConfig
from orchestify.errors import ConfigError, InvalidParameterError, OrchestifyError
from orchestify.lanes.lane import Lane
from orchestify.lanes.mock import MockLane
from orchestify.models.model_map import ModelEntry, ModelMap, has_thinking, has_tools
from orchestify.models.price_book import PriceBook
from orchestify.providers.base import LLMProvider
from orchestify.providers.targets import target_of
from orchestify.values import (
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    LLMResponse,
    StreamEvent,
)

MOST_LISTED = 10_000
"""How many of the models that a provider lists are kept."""


class ConfiguredProvider(LLMProvider):
    """The base of the built-in providers.

    On its own it keeps its own account. Once registered, its calls pass through the registry's
    policies and are booked in the registry's ledger.
    """

    type: ClassVar[str]
    config: ProviderConfig

    def __init__(
        self,
        provider_id: str,
        config: ProviderConfig | Mapping[str, Any],
        *,
        rule: AddressRule | None = None,
        fetches: bool = True,
        takes_unbounded: bool = True,
    ) -> None:
        """Make a provider from its part of the configuration.

        Under a `rule` it reaches only what that allows, since strangers wrote its configuration,
        and uses no credentials or proxies of this process. Unless it `fetches`, no image is
        fetched by the URL that a caller gives; unless it `takes_unbounded`, no call goes out whose
        answer nothing bounds.

        Raises:
            ConfigError: the configuration cannot be used, or is of another type.
            InvalidParameterError: it is none.
        """
        if not isinstance(config, ProviderConfig | Mapping):
            raise InvalidParameterError(
                f"{type(self).__name__} takes a configuration or a mapping, not a "
                f"{type(config).__name__}"
            )
        if not isinstance(config, ProviderConfig):
            config = ProviderConfig.model_validate({"type": self.type, **config})
        if config.type != self.type:
            raise ConfigError(
                f"providers.{provider_id}.type: {type(self).__name__} takes {self.type}"
            )
        super().__init__(provider_id, config)
        self._rule = rule
        self._fetches = fetches
        self._takes_unbounded = takes_unbounded
        self.listed: frozenset[str] = frozenset()
        keyed = [config.with_key(key) for key in config.keys] or [config]
        self._own_lanes = tuple(self._make_lane(each) for each in keyed)
        self._lanes: tuple[Lane, ...] = self._own_lanes
        self._lane = self._lanes[0]
        self._before_itself: Lane | None = None

    @property
    def provider_type(self) -> str:
        """The `type:` of the configuration."""
        return self.type

    @property
    def lane(self) -> Lane:
        """What sends its requests: the provider itself where a subclass says how."""
        return self._itself if self._sends_itself else self._lane

    @property
    def keyed_lanes(self) -> tuple[tuple[SecretStr, Lane], ...]:
        """The keys of `api_keys` and what sends with each; of one that sends itself the first."""
        if self._sends_itself or self.config.api_key is not None:
            return ()
        return tuple(zip(self.config.api_keys, self._lanes, strict=False))

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """All that sends its requests, one for each key."""
        return (self._itself, *self._lanes) if self._sends_itself else self._lanes

    def send_by(self, stand_before: Callable[[Lane], Lane]) -> None:
        """Let something stand before all that sends its requests; it replaces what stood there."""
        if self._sends_itself:
            before = stand_before(self)
            self._before_itself = None if before is self else before
        else:
            self._lanes = tuple(map(stand_before, self._own_lanes))
            self._lane = self._lanes[0]

    @property
    def route(self) -> Route:
        """The route that its calls take."""
        return self._call_route or self._make_call_route()

    def send(self, request: CompletionRequest) -> Coroutine[Any, Any, LLMResponse]:
        """Send one request through the lane; no policy, no booking."""
        return self._lane.send(request)

    def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        """Stream one request through the lane; no policy, no booking."""
        return self._lane.open_stream(request)

    def wire_form(self, request: CompletionRequest, *, stream: bool) -> bytes | None:
        """Return what decides the answer to a request; who sends it, where a subclass says how."""
        form = self._lane.wire_form(request, stream=stream)
        kind = type(self)
        return form and b"\0".join((f"{kind.__module__}.{kind.__qualname__}".encode(), form))

    async def embed_inputs(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Embed the inputs of one request through the lane; no policy, no booking."""
        return await self._lane.embed_inputs(request)

    def supports_tools(self) -> bool:
        """Whether the default model can call tools; True where nobody knows."""
        return has_tools(self._entry())

    def supports_thinking(self) -> bool:
        """Whether the default model has extended thinking; True where nobody knows."""
        return has_thinking(self.config.default_model or "", self._entry())

    async def list_models(self) -> list[str] | None:
        """Return the models the provider lists, by a free request; None where there is none.

        They are kept: their names lead here from now on.
        """
        listed = await self._lane.list_models()
        self.listed = frozenset((listed or ())[:MOST_LISTED])
        return listed

    async def count_input(self, request: CompletionRequest) -> int | None:
        """Return the input tokens of a request, by a free request; None where there is none."""
        return await self._lane.count_input(request)

    async def aclose(self) -> None:
        """Close the provider's connections."""
        for lane in self._lanes:
            await lane.aclose()

    def _make_call_route(self) -> Route:
        prices = PriceBook.of({self.provider_id: self.config})
        runtime = Runtime(prices=prices)
        target = target_of(
            runtime,
            self.lane,
            self.provider_id,
            self.type,
            self.config,
            keyed_lanes=self.keyed_lanes,
        )
        self._call_route = Route(runtime, [target])
        return self._call_route

    def _entry(self) -> ModelEntry | None:
        config, models = self.config, ModelMap.load()
        model = config.default_model or ""
        return models.entry(model, models.provider_of(config.type, model, config.base_url))

    @property
    def _itself(self) -> Lane:
        return self if self._before_itself is None else self._before_itself

    @property
    def _sends_itself(self) -> bool:
        kind = type(self)
        return not (
            kind.send is ConfiguredProvider.send
            and kind.open_stream is ConfiguredProvider.open_stream
        )

    def _make_lane(self, config: ProviderConfig) -> Lane:
        if config.engine == "mock":
            return MockLane.from_options(self.provider_id, config.options)
        if config.engine == "litellm":
            return self._litellm_lane(config)
        return self._own_lane(config)

    def _litellm_lane(self, config: ProviderConfig) -> Lane:
        from orchestify.lanes.litellm import LiteLLMLane  # noqa: PLC0415 - brings aiohttp: 80 ms

        return LiteLLMLane(
            self.provider_id,
            config,
            self._rule,
            fetches=self._fetches,
            takes_unbounded=self._takes_unbounded,
        )

    def _own_lane(self, config: ProviderConfig) -> Lane:
        """Return the lane of the type, with the key of `config`; `engine` may ask otherwise."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.provider_id}: {self.config.default_model}>"

    def __reduce__(self) -> NoReturn:
        raise OrchestifyError(
            "a provider holds a key and is not pickled; build it where it is used"
        )
