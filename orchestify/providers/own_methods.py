"""What a host's own provider is asked about itself: its health, its count of tokens."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from orchestify.calls.messages import MessagesLike
from orchestify.calls.request import ToolLike
from orchestify.errors import InvalidResponseError
from orchestify.health.health import ProviderHealth
from orchestify.health.monitor import check
from orchestify.providers.base import LLMProvider


async def check_own(provider: LLMProvider) -> bool | None:
    """Ask a provider by its own `health_check`, by its models where it has none.

    That may be a coroutine or not, and returns whether the provider is well: a bool, a
    `ProviderHealth`, or anything with `is_healthy`. None means that it could not tell.

    Raises:
        InvalidResponseError: it returned something else.
        Exception: what it raises.
    """
    if type(provider).health_check is LLMProvider.health_check:
        return await check(provider)
    method: Any = provider.health_check
    said = method()
    if inspect.isawaitable(said):
        said = await said
    if isinstance(said, ProviderHealth) and said.status == "unknown":
        return None
    found = getattr(said, "is_healthy", said)
    if found is None or isinstance(found, bool):
        return found
    raise InvalidResponseError(f"health_check returned a {type(said).__name__}, not a bool")


def own_count(
    provider: LLMProvider,
    messages: MessagesLike,
    tools: Iterable[ToolLike] | None,
    model: str | None,
) -> Any:
    """Return what a provider's own `count_tokens` returns, an int or an awaitable of one.

    It is given the messages as they came, and of the rest what its signature has.
    """
    method: Any = provider.count_tokens
    parameters = inspect.signature(method).parameters
    rest = {"tools": tools, "model": model}
    named = {key: value for key, value in rest.items() if key in parameters and value is not None}
    return method(messages, **named)


def counts_itself(provider: LLMProvider) -> bool:
    """Whether a provider defines `count_tokens` itself, not as a coroutine."""
    own = type(provider).count_tokens
    return own is not LLMProvider.count_tokens and not inspect.iscoroutinefunction(own)
