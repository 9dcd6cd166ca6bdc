"""An HTTP transport that answers OpenAI's Chat Completions from an agent, without a network."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
from openai import AsyncOpenAI

from orchestify.calls.chat_completion import completion_of
from orchestify.calls.stream import CompletionStream
from orchestify.calls.sync import run
from orchestify.errors import InvalidParameterError, ModelNotFoundError, OrchestifyError
from orchestify.ledger.record import labelled
from orchestify.providers.base import LLMProvider
from orchestify.server.conversations import KeptConversations
from orchestify.server.gateway.call_headers import answer_headers, call_headers
from orchestify.server.gateway.chat.answer import ChunkWriter
from orchestify.server.gateway.chat.fields import passed_on
from orchestify.server.gateway.chat.request import ChatRequest, chat_request
from orchestify.server.gateway.errors import error_answer, error_event
from orchestify.server.gateway.kept_thinking import KeptThinking
from orchestify.server.gateway.targets import targets_of
from orchestify.server.gateway.unformed import completed, next_event
from orchestify.values import LLMMessage, StreamEnd

URL = "http://orchestify/v1"
"""The address of an agent: it is written into requests, and nothing listens there."""

_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_JSON = (b"content-type", b"application/json")


def openai_client(agent: LLMProvider) -> AsyncOpenAI:
    """Return OpenAI's client of an agent; it does not repeat what the agent's route has retried."""
    # openai 3 names httpx2's client in its types and takes httpx's as well.
    http_client: Any = httpx.AsyncClient(transport=AgentTransport(agent))
    return AsyncOpenAI(
        api_key="none", base_url=URL, max_retries=0, timeout=None, http_client=http_client
    )


class AgentTransport(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """Answers `POST .../chat/completions` as the gateway does, for one agent.

    The model that a request names comes back and is otherwise not read: the agent's configuration
    says who answers. Thinking that the framework does not send back with tool results is kept for
    an hour, encrypted under a key that ends with the process. A read timeout of the request is the
    call's `timeout_s`.
    """

    def __init__(self, agent: LLMProvider) -> None:
        """Answer for an agent.

        Raises:
            InvalidParameterError: it is none.
        """
        if not isinstance(agent, LLMProvider):
            raise InvalidParameterError(
                f"the agent is what registry.get_for_agent returns, not a {type(agent).__name__}"
            )
        self._agent = agent
        self._thinking = KeptThinking(KeptConversations(), tenant="", model="")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request; what goes wrong has a status, as over HTTP."""
        await request.aread()
        return await self._answer(request)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request of a synchronous client, on the loop of the synchronous calls."""
        request.read()
        return run(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        try:
            if not request.url.path.endswith("/chat/completions"):
                raise ModelNotFoundError("an agent answers POST /chat/completions alone")
            asked = chat_request(request.content)
            messages = await self._thinking.restored(asked.arguments["messages"])
            arguments = asked.arguments | {"messages": messages}
            if asked.others:
                targets = targets_of(self._agent)
                arguments["options"], dropped = passed_on(
                    asked.others, targets, has_own_key=True, allowed=()
                )
                asked.warnings += dropped
            if limit_s := request.extensions.get("timeout", {}).get("read"):
                arguments["timeout_s"] = limit_s
            with labelled(asked.labels):
                if asked.is_stream:
                    return await self._events(asked, arguments)
                response = await completed(self._agent, arguments)
        except OrchestifyError as error:
            status, headers, body = error_answer(error)
            return httpx.Response(status, headers=headers, content=body)
        await self._thinking.keep(messages, response)
        headers = [_JSON, *answer_headers(response, asked.warnings)]
        body = json.dumps(completion_of(response, asked.model)).encode()
        return httpx.Response(200, headers=headers, content=body)

    async def _events(self, asked: ChatRequest, arguments: dict[str, Any]) -> httpx.Response:
        stream = self._agent.stream(**arguments)
        events = _Events(stream, self._thinking, arguments["messages"])
        await events.begin(asked)
        headers = [_EVENTS, *call_headers(stream.call_id, stream.attempts, asked.warnings)]
        return httpx.Response(200, headers=headers, stream=events)


class _Events(httpx.AsyncByteStream, httpx.SyncByteStream):
    """The events of a stream whose first output has come."""

    def __init__(
        self, stream: CompletionStream, thinking: KeptThinking, messages: list[LLMMessage]
    ) -> None:
        self._stream = stream
        self._thinking = thinking
        self._messages = messages

    async def begin(self, asked: ChatRequest) -> None:
        """Wait for the first event: until then a failure still has a status of its own."""
        self._first = await next_event(self._stream)
        self._writer = ChunkWriter(
            self._stream.call_id, asked.model, include_usage=asked.include_usage
        )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        text, event = self._writer.opening(), self._first
        try:
            while event is not None:
                yield (text + self._writer.of(event)).encode()
                if isinstance(event, StreamEnd):
                    await self._thinking.keep(self._messages, event.response)
                    yield self._writer.ending
                    return
                text, event = "", await next_event(self._stream)
        except OrchestifyError as error:
            yield error_event(error)

    def __iter__(self) -> Iterator[bytes]:
        pieces = aiter(self)

        async def next_piece() -> bytes:
            return await anext(pieces, b"")

        while piece := run(next_piece()):
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()

    def close(self) -> None:
        run(self._stream.aclose())
