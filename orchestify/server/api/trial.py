"""Testing a provider or an agent: by a free request, or by one short call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from orchestify.errors import OrchestifyError
from orchestify.health.monitor import CHECK_TIMEOUT_S
from orchestify.providers.base import LLMProvider
from orchestify.server.api.provider_schemas import TestProviderResponse

_PROMPT = "Answer with one word: is the sky blue?"
_MAX_TOKENS = 256  # a model that thinks needs room for that, too


async def try_out(find: Callable[[], LLMProvider], *, prompt: bool) -> TestProviderResponse:
    """Find a provider, test it and say what came; what either raises is the result."""
    started = time.monotonic()
    result: Literal["ok", "failed", "skipped"] = "failed"
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            found = await (_call if prompt else _ask)(find())
    except OrchestifyError as error:
        message = f"{type(error).__name__}: {error}"
    except TimeoutError:
        message = f"no answer within {CHECK_TIMEOUT_S:g} s"
    else:
        result = "skipped" if found is None else "ok"
        message = found or "it has no free request to test with; ask for a call with `prompt`"
    latency_s = round(time.monotonic() - started, 6)
    return TestProviderResponse(result=result, message=message, latency_s=latency_s)


async def _ask(provider: LLMProvider) -> str | None:
    models = await provider.list_models()
    return None if models is None else f"{len(models)} models listed"


async def _call(provider: LLMProvider) -> str:
    response = await provider.complete(_PROMPT, max_tokens=_MAX_TOKENS, max_attempts=1)
    return f"{response.tokens_output} tokens from {response.model}"
