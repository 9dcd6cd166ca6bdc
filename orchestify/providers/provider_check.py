"""A small suite that tries a provider with real, short calls: what works there, and what not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from orchestify.core.config import BudgetConfig, Config
from orchestify.errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    InvalidParameterError,
    InvalidRequestError,
    ModelNotFoundError,
    OrchestifyError,
)
from orchestify.ledger.budgets.store import BudgetBook
from orchestify.providers.base import LLMProvider
from orchestify.providers.benchmark import Benchmark, benchmark
from orchestify.providers.registry import ProviderRegistry
from orchestify.providers.shared import SharedParts

Result: TypeAlias = Literal["ok", "failed", "skipped"]

TIMEOUT_S = 60.0  # of each check
BUDGET, LIMIT_USD = "providers test", Decimal(1)
MAX_TOKENS = 256  # of each answer: a model that thinks needs room for that, too

_PROMPT = "Answer with one short sentence: what is the capital of France?"
_NO_SUCH_MODEL = "missing-model"  # the one that the stub server refuses, too
_TOOL = {
    "name": "get_capital",
    "description": "Look up the capital of a country.",
    "input_schema": {
        "type": "object",
        "properties": {"country": {"type": "string"}},
        "required": ["country"],
    },
}
_SCHEMA = {
    "title": "capital",
    "type": "object",
    "properties": {"capital": {"type": "string"}},
    "required": ["capital"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Check:
    """One check: `message` says what came, or why it failed or was skipped.

    Where the first check finds the provider out of reach, the others are skipped without a word.
    """

    name: str
    result: Result
    latency_s: float = 0.0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """The checks of one provider, in the order of `CHECKS`, and a benchmark where one was made."""

    provider: str
    checks: tuple[Check, ...]
    benchmark: Benchmark | None = None

    @property
    def ok(self) -> bool:
        """Whether no check failed, and no call of the benchmark."""
        is_well = self.benchmark is None or not self.benchmark.errors
        return is_well and all(check.result != "failed" for check in self.checks)


async def try_configured(
    config: Config,
    names: Iterable[str] | None = None,
    limit_usd: Decimal = LIMIT_USD,
    calls: int = 0,
) -> tuple[list[Trial], dict[str, Any]]:
    """Try a configuration's providers within a budget of their own; return what it used, too.

    The configuration's budgets hold for its agents: they neither stop a trial nor are spent by
    it. It is booked in the ledger. The usage is as a row of `ProviderRegistry.get_usage_summary`.

    Raises:
        ConfigError: a provider cannot be built.
        ProviderNotFoundError: as `try_providers` does.
    """
    own = BudgetConfig(name=BUDGET, limit_usd=limit_usd, period="ever", on_unpriced="allow")
    tried = config.model_copy(
        update={
            "budgets": (own,),
            "providers": config.providers.model_copy(
                update={
                    "settings": config.providers.settings.model_copy(update={"budgets": (own,)})
                }
            ),
        }
    )
    async with ProviderRegistry.assemble(tried, SharedParts(book=BudgetBook())) as registry:
        trials = await try_providers(registry, names, calls=calls)
        return trials, registry.get_usage_summary()["total"]


async def try_providers(
    registry: ProviderRegistry, names: Iterable[str] | None = None, *, calls: int = 0
) -> list[Trial]:
    """Try providers, all at once and each with one request at a time; every call is booked.

    `names` are all registered ones where None. A check is one attempt, without retries. `calls`
    are a benchmark's, of each provider that can be reached.

    Raises:
        ProviderNotFoundError: one of them is not registered, or is off.
    """
    chosen = registry.list_providers() if names is None else list(names)
    providers = {name: registry.get(name) for name in chosen}
    trials = (_try(name, provider, calls) for name, provider in providers.items())
    return list(await asyncio.gather(*trials))


async def _try(name: str, provider: LLMProvider, calls: int) -> Trial:
    checks: list[Check] = []
    for title, check in CHECKS.items():
        if _is_out_of_reach(checks):
            checks.append(Check(title, "skipped"))
        else:
            checks.append(await _run(title, check, provider))
    if not calls or _is_out_of_reach(checks):
        return Trial(name, tuple(checks))
    return Trial(name, tuple(checks), await benchmark(provider, calls))


def _is_out_of_reach(checks: list[Check]) -> bool:
    connected = checks[:1]
    unreachable = (APIConnectionError.__name__, AuthenticationError.__name__)
    return any(
        each.result == "failed" and each.message.startswith(unreachable) for each in connected
    )


async def _run(
    title: str, check: Callable[[LLMProvider], Awaitable[str]], provider: LLMProvider
) -> Check:
    started = time.monotonic()
    result: Result = "failed"
    try:
        async with asyncio.timeout(TIMEOUT_S):
            message = await check(provider)
        result = "ok"
    except _Skipped as reason:
        return Check(title, "skipped", message=str(reason))
    except InvalidParameterError as error:  # what the model is known to lack
        return Check(title, "skipped", message=str(error))
    except _Failed as reason:
        message = str(reason)
    except OrchestifyError as error:
        message = f"{type(error).__name__}: {error}"
    except TimeoutError:
        message = f"no answer within {TIMEOUT_S:g} s"
    return Check(title, result, time.monotonic() - started, message)


class _Skipped(Exception):  # noqa: N818 - no error: there is nothing to check
    """There is nothing to check."""


class _Failed(Exception):  # noqa: N818 - a verdict of this suite, never raised to callers
    """The provider answered, but not as it should."""


async def _connect(provider: LLMProvider) -> str:
    models = await provider.list_models()
    if models is None:
        raise _Skipped("it has no free request")
    return f"{len(models)} models listed"


async def _complete(provider: LLMProvider) -> str:
    response = await provider.complete(_PROMPT, max_tokens=MAX_TOKENS, max_attempts=1)
    if not response.content and response.finish_reason != "length":
        raise _Failed("the answer is empty")
    return f"{response.tokens_output} tokens from {response.model}"


async def _stream(provider: LLMProvider) -> str:
    pieces = 0
    async with provider.stream(_PROMPT, max_tokens=MAX_TOKENS, max_attempts=1) as stream:
        async for _ in stream:
            pieces += 1
    if not pieces and stream.response.finish_reason != "length":
        raise _Failed("the stream holds no text")
    return f"{pieces} pieces"


async def _tools(provider: LLMProvider) -> str:
    if not provider.supports_tools():
        raise _Skipped("the model cannot call tools")
    response = await provider.complete(
        "Look up the capital of France.",
        tools=[_TOOL],
        tool_choice="required",
        max_tokens=MAX_TOKENS,
        max_attempts=1,
    )
    names = [call.name for call in response.tool_calls if call.valid]
    if "get_capital" not in names:
        raise _Failed("the model did not call the tool that it had to call")
    return "called the tool"


async def _structured_output(provider: LLMProvider) -> str:
    response = await provider.complete(
        _PROMPT, response_format=_SCHEMA, max_tokens=MAX_TOKENS, max_attempts=1
    )
    if not isinstance(response.parsed, Mapping) or "capital" not in response.parsed:
        raise _Failed("the answer does not have the form that was asked for")
    return "the answer has the form asked for"


async def _wrong_model(provider: LLMProvider) -> str:
    """A model that does not exist is refused, and not by the key or the connection."""
    own: Any = getattr(getattr(provider, "config", None), "default_model", None) or ""
    prefix = f"{own.partition('/')[0]}/" if "/" in own else ""
    try:
        await provider.complete(
            _PROMPT, model=prefix + _NO_SUCH_MODEL, max_tokens=1, max_attempts=1
        )
    except (ModelNotFoundError, InvalidRequestError) as error:
        return f"refused: {type(error).__name__}"
    except APIError as error:
        raise _Failed(f"refused, but as {type(error).__name__}: {error}") from None
    raise _Failed("answers to a model that does not exist")


CHECKS: Mapping[str, Callable[[LLMProvider], Awaitable[str]]] = {
    "connect": _connect,
    "complete": _complete,
    "stream": _stream,
    "tools": _tools,
    "structured": _structured_output,
    "wrong model": _wrong_model,
}
"""The checks by name, in the order they run."""
