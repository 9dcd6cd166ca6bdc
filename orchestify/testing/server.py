"""`StubServer`: OpenAI's two protocols and Anthropic's on loopback, scripted, with an account."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from threading import Thread
from typing import Any, Self, TypeAlias

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from orchestify.testing.account import Account, Connections, StubRequest
from orchestify.testing.answer import ParsedRequest, RefusedError, compose
from orchestify.testing.anthropic import read_prompt
from orchestify.testing.batches import StubBatches
from orchestify.testing.embeddings import billed, encode_vectors, read_inputs
from orchestify.testing.exchange import Exchange
from orchestify.testing.reply import Reply, Writes, split_model
from orchestify.testing.wire import (
    COUNT_PATH,
    EMBEDDINGS_PATH,
    MODELS_PATH,
    Wire,
    check_headers,
    check_request,
    read_body,
    wire_of,
)

Respond: TypeAlias = Callable[[StubRequest], Reply | Awaitable[Reply | None] | None]

MISSING_MODEL = "missing-model"
_BACKLOG = 4096
_MAX_BODY = 64 << 20
_POLL_S = 0.002
_READERS = {COUNT_PATH: read_prompt, EMBEDDINGS_PATH: read_inputs}


class StubServer:
    """A server on 127.0.0.1 that speaks OpenAI's two protocols and Anthropic's.

    `async with StubServer() as server` runs it in the running event loop, `with
    StubServer.in_thread() as server` in a thread with a loop of its own.

    `port` 0 takes a free one. `words` is the length of the default text (0: one short sentence
    that counts the prompt's words), `writes` how a stream is written (see `Reply`), `keys` the
    keys that are accepted (None: every key that does not begin with `wrong`), `models` what a list
    of models says (every other name is answered to as well, but `missing-model`). Of the requests
    the last `history` are kept in `requests`; `account` counts all of them.

    `batches` are the batches of both APIs, and the faults of these.

    `respond` may be set to a function (or coroutine function) that chooses the reply for a
    request; None leaves it to the scripts.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        words: int = 0,
        writes: Writes = "each",
        keys: Collection[str] | None = None,
        models: Sequence[str] = ("stub-small", "stub-large"),
        history: int = 10_000,
    ) -> None:
        self.port = port
        self.words = words
        self.writes = writes
        self.keys = None if keys is None else frozenset(keys)
        self.models = tuple(models)
        self.requests: deque[StubRequest] = deque(maxlen=history)
        self.account = Account()
        self.batches = StubBatches()
        self.respond: Respond | None = None
        self._scripts: defaultdict[str | None, deque[Reply]] = defaultdict(deque)
        self._prefixes: set[int] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listener: _Listener | None = None
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens: `http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        """The `base_url` of an OpenAI client."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The `base_url` of an Anthropic client."""
        return self.url

    @property
    def active(self) -> int:
        """How many requests are in progress."""
        return len(self._tasks)

    @property
    def connections(self) -> Connections:
        """The TCP connections open now, and how many were ever opened."""
        if self._listener is None:
            return Connections(0, 0)
        return Connections(len(self._listener.connections), self._listener.opened)

    def script(self, *replies: Reply, model: str | None = None) -> None:
        """Queue replies, one a request, for all models or for requests of one.

        A model's own queue is served first; a request that is refused takes none. When the queues
        are empty, the directives in the model's name hold.
        """
        self._scripts[model].extend(replies)

    async def wait_idle(self, timeout_s: float = 30.0) -> None:
        """Wait until no request is in progress; it may be awaited in any event loop.

        Raises: TimeoutError after `timeout_s`.
        """
        async with asyncio.timeout(timeout_s):
            while self._tasks:  # noqa: ASYNC110 # an Event would belong to one loop
                await asyncio.sleep(_POLL_S)

    async def start(self) -> None:
        """Listen. Raises: OSError where the port is taken."""
        self._listener = _Listener(
            self._serve, request_factory=_request, handler_cancellation=True, access_log=None
        )
        self._runner = web.ServerRunner(self._listener, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=_BACKLOG)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening, cancel the requests in progress and close every connection."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for task in self._tasks:
            task.cancel()
        await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @classmethod
    def in_thread(cls, server: StubServer | None = None) -> AbstractContextManager[StubServer]:
        """Run `server` (a new one with the defaults where None) in a thread of its own.

        Its attributes may be read, and `script` called, from any thread.
        """
        return run_in_thread(server or cls())

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and book it whatever happens."""
        seen = StubRequest(self.account.received, http.method, http.path, http.headers)
        self.account.received += 1
        self.requests.append(seen)
        self._tasks.add(http.task)
        try:
            if self.batches.serves(seen.path):
                return await self._answer_batch(http, seen)
            return await self._answer(http, seen)
        except asyncio.CancelledError:
            seen.outcome = "client_left" if self._runner else "server_closed"
            raise
        except ConnectionError:
            seen.outcome = "client_left"
            return web.Response()
        finally:
            seen.ended_at = time.monotonic()
            self.account.book(seen)
            self._tasks.discard(http.task)

    async def _answer(self, http: web.BaseRequest, seen: StubRequest) -> web.StreamResponse:
        exchange = Exchange(http, seen, wire_of(seen.path, http.headers))
        seen.raw_body = await http.read()
        try:
            return await self._served(http, seen, exchange)
        except RefusedError as refused:
            return await exchange.send_refused(refused)

    async def _served(
        self, http: web.BaseRequest, seen: StubRequest, exchange: Exchange
    ) -> web.StreamResponse:
        """Answer a request.

        Raises:
            RefusedError: a real server would not; nothing was sent.
        """
        wire = wire_of(seen.path, http.headers)
        check_request(wire, seen.method, seen.path, http.headers, self.keys)
        if seen.path == MODELS_PATH:
            return await exchange.send_body(wire.encode_models(self.models))
        ask, model, directed = _read(wire, seen)
        if seen.path == COUNT_PATH:
            return await exchange.send_body(b'{"input_tokens": %d}' % ask.input_tokens)
        exchange.reply = reply = await self._reply(seen, directed)
        if reply.is_failure:
            return await exchange.send_failure()
        if seen.path == EMBEDDINGS_PATH:
            vectors = encode_vectors(seen.body, model, ask, reply)
            return await exchange.send_whole(vectors, billed(ask, reply))
        answer = compose(ask, reply, model, seen.index, self.words, self._was_cached(model, ask))
        return await exchange.send_answer(answer, reply.writes or self.writes)

    async def _answer_batch(self, http: web.BaseRequest, seen: StubRequest) -> web.StreamResponse:
        """Answer a request about batches or their files; a fault loses the answer alone."""
        wire = wire_of(seen.path, http.headers)
        exchange = Exchange(http, seen, wire)
        seen.raw_body = await http.read()
        try:
            check_headers(wire, http.headers, self.keys)
            reply, carry_out = self.batches.prepared(seen, http.query_string)
            reply = await self._chosen(seen) or reply
            if reply is not None:
                exchange.reply = reply
                if reply.is_error:
                    return await exchange.send_failure()
            body = carry_out()
        except RefusedError as refused:
            return await exchange.send_refused(refused)
        if exchange.reply.is_failure:
            return await exchange.send_failure()
        return await exchange.send_whole(body, None)

    async def _reply(self, seen: StubRequest, directed: Reply) -> Reply:
        """Return the reply: the function's, else the model's queue's, everyone's, the name's."""
        reply = await self._chosen(seen)
        if reply is not None:
            return reply
        for queue in (self._scripts.get(seen.model), self._scripts[None]):
            if queue:
                return queue.popleft()
        return directed

    async def _chosen(self, seen: StubRequest) -> Reply | None:
        """Return what `respond` chooses for a request."""
        chosen = None if self.respond is None else self.respond(seen)
        return await chosen if inspect.isawaitable(chosen) else chosen

    def _was_cached(self, model: str, ask: ParsedRequest) -> bool:
        """Whether a prefix marked for caching was there before; from now on it is."""
        if ask.prefix is None:
            return False
        key = hash((model, ask.prefix.text))
        cached = key in self._prefixes
        self._prefixes.add(key)
        return cached


class _Listener(web.Server):
    """aiohttp's server, counting the connections it accepts."""

    opened = 0

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        self.opened += 1
        super().connection_made(handler, transport)


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """Make aiohttp's request, with room for a body with images."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=_MAX_BODY
    )


def _read(wire: Wire, seen: StubRequest) -> tuple[ParsedRequest, str, Reply]:
    """Return what is asked, the model's name, and the reply that its directives ask for.

    Raises: RefusedError where the real server would answer 400 or 404.
    """
    read_body(seen)
    seen.model = str(seen.body.get("model") or "")
    seen.stream = seen.body.get("stream") is True
    try:
        ask = _READERS.get(seen.path, wire.read)(seen.body)
        model, directed = split_model(seen.model)
    except ValueError as error:
        raise RefusedError(400, str(error), "model") from None
    except (AttributeError, KeyError, TypeError):
        raise RefusedError(400, "A part of the request has the wrong shape.") from None
    if model == MISSING_MODEL:
        raise RefusedError(404, wire.no_model(model), "model")
    return ask, model, directed


Started: TypeAlias = "Future[Callable[[], object]]"


@contextmanager
def run_in_thread(server: StubServer) -> Iterator[StubServer]:
    """Run `server` in a thread until the block is left.

    Raises: OSError where its port is taken.
    """
    started: Started = Future()
    thread = Thread(
        target=lambda: asyncio.run(_run(server, started)), name="orchestify-stub", daemon=True
    )
    thread.start()
    stop = started.result()
    try:
        yield server
    finally:
        stop()
        thread.join()


async def _run(server: StubServer, started: Started) -> None:
    """Serve until the function that `started` gives is called."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    try:
        await server.start()
    except OSError as error:
        started.set_exception(error)
    else:
        started.set_result(lambda: loop.call_soon_threadsafe(stopped.set))
        await stopped.wait()
    finally:
        await server.close()
