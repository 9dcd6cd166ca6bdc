"""What LiteLLM, any-llm and OpenAI's SDK do where a provider fails: the README's table, tried.

    python benchmarks/compared.py        (pip install "any-llm-sdk[openai]" for its column)

Each calls a stub server on loopback, which counts the requests. What is not installed is left out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from orchestify import OpenAIProvider
from orchestify.testing import StubServer

PROMPT = [{"role": "user", "content": "What is the weather like?"}]
FAULTS = {
    "hung up in the middle": "stub;chunks=20;cut_after=3",
    "ended in the middle as if all were well": "stub;chunks=20;eof_after=3",
}


class Peer:
    """One layer: a call of a model, and a stream of one, both with two retries."""

    name = "orchestify"

    def __init__(self, url: str) -> None:
        self.url = url
        retry = {"max_attempts": 3, "first_delay_s": 0.01, "max_delay_s": 0.02}
        self.provider = OpenAIProvider(
            "o", {"base_url": url, "api_key": "any", "default_model": "stub", "retry": retry}
        )

    async def call(self, model: str) -> Any:
        """Make one call."""
        return await self.provider.complete("hi", model=model)

    async def texts(self, model: str) -> AsyncIterator[str]:
        """Stream one answer."""
        async for text in self.provider.stream("hi", model=model):
            yield text

    async def cost(self, model: str) -> Any:
        """Return what a call cost."""
        return (await self.call(model)).cost_usd


class LiteLLM(Peer):
    """`litellm.acompletion`."""

    name = "LiteLLM"

    def __init__(self, url: str) -> None:
        import litellm

        litellm.suppress_debug_info = True
        self.litellm, self.url = litellm, url

    def _given(self, model: str) -> dict[str, Any]:
        given = {"api_base": self.url, "api_key": "any", "num_retries": 2, "messages": PROMPT}
        return {"model": f"openai/{model}", **given}

    async def call(self, model: str) -> Any:
        """Make one call."""
        return await self.litellm.acompletion(**self._given(model))

    async def texts(self, model: str) -> AsyncIterator[str]:
        """Stream one answer."""
        async for chunk in await self.litellm.acompletion(**self._given(model), stream=True):
            yield chunk.choices[0].delta.content or ""
            if chunk.choices[0].finish_reason:
                yield f"[finish_reason={chunk.choices[0].finish_reason}]"

    async def cost(self, model: str) -> Any:
        """Return what its own response says a call cost."""
        response = await self.call(model)
        return response._hidden_params.get("response_cost")


class OpenAISdk(Peer):
    """OpenAI's own client."""

    name = "OpenAI's SDK"

    def __init__(self, url: str) -> None:
        import openai

        self.client = openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=2)

    async def call(self, model: str) -> Any:
        """Make one call."""
        return await self.client.chat.completions.create(model=model, messages=PROMPT)

    async def texts(self, model: str) -> AsyncIterator[str]:
        """Stream one answer."""
        made = self.client.chat.completions.create(model=model, messages=PROMPT, stream=True)
        async for chunk in await made:
            for choice in chunk.choices:
                yield choice.delta.content or ""
                if choice.finish_reason:
                    yield f"[finish_reason={choice.finish_reason}]"

    async def cost(self, model: str) -> Any:
        """Return that it tells no cost."""
        await self.call(model)
        return "not told"


class AnyLlm(OpenAISdk):
    """`any_llm.acompletion`, with its OpenAI provider."""

    name = "any-llm"

    def __init__(self, url: str) -> None:
        import any_llm

        self.any_llm, self.url = any_llm, url

    def _made(self, model: str, **more: Any) -> Awaitable[Any]:
        given = {"provider": "openai", "messages": PROMPT, "api_base": self.url, "api_key": "any"}
        return self.any_llm.acompletion(model, **given, client_args={"max_retries": 2}, **more)

    async def call(self, model: str) -> Any:
        """Make one call."""
        return await self._made(model)

    async def texts(self, model: str) -> AsyncIterator[str]:
        """Stream one answer."""
        async for chunk in await self._made(model, stream=True):
            for choice in chunk.choices:
                yield choice.delta.content or ""
                if choice.finish_reason:
                    yield f"[finish_reason={choice.finish_reason}]"


async def _told(made: Callable[[], Awaitable[Any]]) -> str:
    try:
        return str(await made())
    except Exception as error:
        return type(error).__name__


async def _streamed(peer: Peer, model: str) -> str:
    pieces = []
    try:
        async for text in peer.texts(model):
            pieces.append(text)  # noqa: PERF401 - what came before an error counts
    except Exception as error:
        return f"{len(pieces)} pieces, then {type(error).__name__}"
    return f"{len(pieces)} pieces, and no error"


async def main() -> None:
    """Print a paragraph a layer."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    async with StubServer() as server:
        for make in (Peer, LiteLLM, AnyLlm, OpenAISdk):
            try:
                peer = make(server.openai_url)
            except ImportError:
                print(f"\n{make.name}: not installed")
                continue
            print(f"\n{peer.name}")
            before = server.account.received
            raised = await _told(lambda: peer.call("stub;status=503"))  # noqa: B023 - awaited here
            print(
                f"  503 for ever, two retries: {server.account.received - before} requests", raised
            )
            print("  a price nobody knows:", await _told(lambda: peer.cost("in-house")))  # noqa: B023
            for what, model in FAULTS.items():
                print(f"  a stream {what}: {await _streamed(peer, model)}")


if __name__ == "__main__":
    asyncio.run(main())
