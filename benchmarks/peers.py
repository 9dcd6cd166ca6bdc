"""Other clients, each one function, over a server that speaks OpenAI's protocol and Anthropic's.

A client whose package is not installed raises ImportError as it is made, and is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

PROMPT = "Say something about the weather in three cities, and be brief about it."
KEY = "sk-benchmark"
MESSAGES = [{"role": "user", "content": PROMPT}]
MAX_TOKENS = 100
CLAUDE = "claude-sonnet-4-5"
STREAMS = ("stub;chunks=5", "stub;chunks=100", "stub;chunks=1000")  # what is streamed of a Router
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}


@dataclass(frozen=True)
class Client:
    """A way to the server: `call(model)` waits for an answer, `stream(model)` yields pieces.

    `cost(answer)` is what the answer tells of its cost in USD; `model` is one that has a price.
    """

    call: Callable[[str], Awaitable[Any]]
    stream: Callable[[str], AsyncIterator[Any]]
    cost: Callable[[Any], Any] = lambda _: "not told"
    model: str = "gpt-4o"


Chunks = Callable[..., Awaitable[AsyncIterator[Any]]]


def _opened(open_stream: Chunks) -> Callable[[str], AsyncIterator[Any]]:
    """Return a stream that is opened as its first piece is asked for."""

    async def stream(model: str) -> AsyncIterator[Any]:
        async for chunk in await open_stream(model):
            yield chunk

    return stream


def raw(session: aiohttp.ClientSession, url: str) -> Client:
    """The floor: aiohttp, a JSON body, lines of the stream read one by one."""
    headers, url = {"authorization": f"Bearer {KEY}"}, f"{url}/v1/chat/completions"

    async def call(model: str) -> Any:
        body = {"model": model, "messages": MESSAGES}
        async with session.post(url, json=body, headers=headers) as answer:
            return json.loads(await answer.read())

    async def stream(model: str) -> AsyncIterator[str]:
        body = {"model": model, "messages": MESSAGES, "stream": True}
        body["stream_options"] = {"include_usage": True}
        async with session.post(url, json=body, headers=headers) as answer:
            async for line in answer.content:
                if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                    event = json.loads(line[6:])
                    if event["choices"] and event["choices"][0]["delta"].get("content"):
                        yield event["choices"][0]["delta"]["content"]

    return Client(call, stream)


def raw_messages(session: aiohttp.ClientSession, url: str) -> Client:
    """The same floor for Anthropic's protocol."""
    headers, url = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}, f"{url}/v1/messages"

    async def call(model: str) -> Any:
        body = {"model": model, "max_tokens": MAX_TOKENS, "messages": MESSAGES}
        async with session.post(url, json=body, headers=headers) as answer:
            return json.loads(await answer.read())

    async def stream(model: str) -> AsyncIterator[str]:
        body = {"model": model, "max_tokens": 8192, "messages": MESSAGES, "stream": True}
        async with session.post(url, json=body, headers=headers) as answer:
            async for line in answer.content:
                if line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    if event["type"] == "content_block_delta":
                        yield event["delta"].get("text", "")

    return Client(call, stream, model=CLAUDE)


def ours(provider: Any, prefix: str = "", model: str = "gpt-4o") -> Client:
    """A provider of orchestify's, the whole call path included."""
    return Client(
        lambda model: provider.complete(PROMPT, model=prefix + model, max_tokens=MAX_TOKENS),
        lambda model: provider.stream(PROMPT, model=prefix + model),
        lambda answer: answer.cost_usd,
        model,
    )


def litellm_client(url: str, retries: int) -> Client:
    """Bare `litellm.acompletion`."""
    import litellm

    litellm.suppress_debug_info = True
    given = {"api_key": KEY, "api_base": f"{url}/v1", "messages": MESSAGES}
    given |= {"num_retries": retries} if retries else {"max_retries": 0}
    more = {"stream": True, "stream_options": {"include_usage": True}}
    make = litellm.acompletion
    return Client(
        lambda model: make(model=f"openai/{model}", max_tokens=MAX_TOKENS, **given),
        _opened(lambda model: make(model=f"openai/{model}", **more, **given)),
        lambda answer: answer._hidden_params.get("response_cost"),
    )


def router_client(url: str, retries: int) -> Client:
    """LiteLLM's Router."""
    from litellm import Router

    def deployment(model: str) -> dict[str, Any]:
        params = {"model": f"openai/{model}", "api_key": KEY, "api_base": f"{url}/v1"}
        return {"model_name": model, "litellm_params": params}

    router = Router([deployment(model) for model in ("gpt-4o", *STREAMS)], num_retries=retries)
    make = router.acompletion
    return Client(
        lambda model: make(model=model, messages=MESSAGES, max_tokens=MAX_TOKENS),
        _opened(lambda model: make(model=model, messages=MESSAGES, stream=True)),
    )


def openai_sdk(url: str, retries: int) -> Client:
    """OpenAI's own client."""
    from openai import AsyncOpenAI

    make = AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=retries).chat.completions
    return Client(
        lambda model: make.create(model=model, messages=MESSAGES, max_tokens=MAX_TOKENS),
        _opened(lambda model: make.create(model=model, messages=MESSAGES, stream=True)),
    )


def anthropic_sdk(url: str, retries: int) -> Client:
    """Anthropic's own client."""
    from anthropic import AsyncAnthropic

    make = AsyncAnthropic(api_key=KEY, base_url=url, max_retries=retries).messages
    given = {"messages": MESSAGES}
    return Client(
        lambda model: make.create(model=model, max_tokens=MAX_TOKENS, **given),
        _opened(lambda model: make.create(model=model, max_tokens=8192, stream=True, **given)),
        model=CLAUDE,
    )


def any_llm_client(url: str, retries: int) -> Client:
    """any-llm, with its OpenAI provider."""
    from any_llm import acompletion

    given = {"provider": "openai", "api_key": KEY, "api_base": f"{url}/v1", "messages": MESSAGES}
    given["client_args"] = {"max_retries": retries}
    return Client(
        lambda model: acompletion(model, max_tokens=MAX_TOKENS, **given),
        _opened(lambda model: acompletion(model, stream=True, **given)),
    )


def pydantic_ai_client(url: str, retries: int) -> Client:
    """Pydantic AI's model requests, without an agent."""
    from openai import AsyncOpenAI
    from pydantic_ai.direct import model_request, model_request_stream
    from pydantic_ai.messages import ModelRequest
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    sdk = AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=retries)
    provider, prompt = OpenAIProvider(openai_client=sdk), [ModelRequest.user_text_prompt(PROMPT)]

    def call(model: str) -> Awaitable[Any]:
        made = OpenAIChatModel(model, provider=provider)
        return model_request(made, prompt, model_settings={"max_tokens": MAX_TOKENS})

    async def stream(model: str) -> AsyncIterator[Any]:
        made = OpenAIChatModel(model, provider=provider)
        async with model_request_stream(made, prompt) as events:
            async for event in events:
                yield event

    return Client(call, stream, lambda answer: answer.cost().total_price)


def liter_llm_client(url: str, retries: int) -> Client:
    """liter-llm, a client in Rust."""
    import liter_llm

    client = liter_llm.create_client(api_key=KEY, base_url=f"{url}/v1", max_retries=retries)
    given = {"messages": [liter_llm.Message.from_user({"content": PROMPT})]}

    def request(model: str, **more: Any) -> Any:
        return liter_llm.ChatCompletionRequest(model=model, **given, **more)

    return Client(
        lambda model: liter_llm.chat(client, request(model, max_tokens=MAX_TOKENS)),
        lambda model: liter_llm.chat_stream(client, request(model, stream=True)),
    )


PEERS: dict[str, Callable[[str, int], Client]] = {
    "litellm.acompletion": litellm_client,
    "litellm.Router": router_client,
    "openai SDK": openai_sdk,
    "anthropic SDK": anthropic_sdk,
    "any-llm": any_llm_client,
    "pydantic-ai": pydantic_ai_client,
    "liter-llm": liter_llm_client,
}
"""What makes each of them, of the server's URL (without `/v1`) and a number of retries."""


def installed(url: str, retries: int = 0) -> tuple[dict[str, Client], tuple[str, ...]]:
    """Return the clients that are installed, and a note for each that is not."""
    found, notes = {}, []
    for name, make in PEERS.items():
        try:
            found[name] = make(url, retries)
        except ImportError as error:
            notes.append(f"{name} left out: {error.name} is not installed")
    return found, tuple(notes)
