"""Runs the service in uvicorn, until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from asyncio import Task
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from orchestify.errors import InvalidParameterError
from orchestify.models.model_map import ModelMap
from orchestify.providers.reloading import watch_files
from orchestify.server.app import create_app
from orchestify.server.connections import (
    Connections,
    descriptors,
    most_connections,
    protocol_of,
    raise_descriptors,
)
from orchestify.server.logs import configure_logging
from orchestify.server.service import Service
from orchestify.server.settings import ServiceSettings

_BACKLOG = 2048
_SEND_BUFFER_BYTES = 64 << 10
"""The kernel's buffer of a connection. By itself it grows to megabytes for a client that does not
read, and a stream's text grows with it."""

_KEEP_ALIVE_S = 65  # longer than the usual 60 s of the proxies before it
_SHUTDOWN_NOTICE_S = 2.0  # for requests that are cut off to say so
_HANGUP = getattr(signal, "SIGHUP", None)  # not on Windows
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_OTHER_CONNECTIONS, _OTHER_GRACE_S = 200, 2

CREATE_TOKEN = "orchestify tokens create --tenant NAME --scope admin"  # noqa: S105 - a command


def run(
    settings: ServiceSettings,
    on_start: Callable[[Service, str], None],
    on_end: Callable[[int], None],
) -> bool:
    """Serve until SIGINT or SIGTERM, and let what is under way end; say whether it was SIGINT.

    A second SIGINT ends at once. `on_start` is told the address when connections are accepted,
    `on_end` how many requests are under way when it is told to end.

    Raises:
        ConfigError: the configuration cannot be used.
        InvalidParameterError: the address is taken or is none, or it would be reached from
            elsewhere and there is no token; or the URL of Redis is none.
        StoreError: the database cannot be used.
    """
    configure_logging(settings.log_format)
    raise_descriptors()
    loop_factory = uvicorn.Config("", loop="auto").get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_serve(settings, on_start, on_end))


async def _serve(
    settings: ServiceSettings,
    on_start: Callable[[Service, str], None],
    on_end: Callable[[int], None],
) -> bool:
    async with await Service.open(settings) as service:
        if not settings.is_loopback and not await asyncio.to_thread(service.tokens.exist):
            where = f"--host {settings.host}" if not settings.proxies else "--proxy"
            who = "this address" if not settings.proxies else "the proxy"
            raise InvalidParameterError(
                f"{where}: it would be open to everybody who reaches {who}; "
                f"make a token first: {CREATE_TOKEN}"
            )
        _freeze_memory()
        sockets = listen(settings.host, settings.port)
        where = address(settings.host, sockets[0])
        with _recorded_signals() as received, _reloading(service):
            await server_of(service, lambda: on_start(service, where), on_end).serve(sockets)
    return signal.SIGINT in received


@contextlib.contextmanager
def _reloading(service: Service) -> Iterator[None]:
    """Read the operator's configuration anew on SIGHUP, and whenever its files have changed."""
    loop, path, tasks = asyncio.get_running_loop(), service.settings.config_path, set[Task[Any]]()

    async def reload() -> None:
        await service.reload()

    def begin(what: Coroutine[Any, Any, None]) -> None:
        task = loop.create_task(what)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    if path is not None:
        begin(watch_files(service.settings.base_dir / path, reload))
    if _HANGUP is not None:
        loop.add_signal_handler(_HANGUP, lambda: begin(reload()))
    try:
        yield
    finally:
        if _HANGUP is not None:
            loop.remove_signal_handler(_HANGUP)
        for task in tuple(tasks):
            task.cancel()


def _freeze_memory() -> None:
    """Take what stays for good out of the garbage collector's rounds: a fifth of a call's CPU."""
    ModelMap.load()
    gc.collect()
    gc.freeze()


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, on_start: Callable[[], None], on_end: Callable[[int], None]
    ) -> None:
        super().__init__(config)
        self._on_start = on_start
        self._on_end = on_end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_end(len(self.server_state.tasks))
        await super().shutdown(sockets)
        left = list(self.server_state.tasks)  # these are cancelled, or a second signal came
        if left:
            if self.force_exit:
                for task in left:
                    task.cancel()
            await asyncio.wait(left, timeout=_SHUTDOWN_NOTICE_S)


def server_of(
    service: Service,
    on_start: Callable[[], None],
    on_end: Callable[[int], None] = lambda _: None,
) -> uvicorn.Server:
    """Return a server of the service, to be given its sockets; `on_start` when it accepts.

    `on_end` is told how many requests are under way when it is told to end.

    uvicorn logs no request: an address or a header may hold what is nobody's business.
    """
    settings, app = service.settings, create_app(service)

    def end(under_way: int) -> None:
        app.state.feeds.close()
        on_end(under_way)

    return _Server(
        uvicorn.Config(
            app,
            http=protocol_of(
                Connections(most_connections(descriptors()), trusted=settings.proxies)
            ),
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.proxies),
            forwarded_allow_ips=list(settings.proxies),
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(settings.grace_s)),
        ),
        on_start,
        end,
    )


def run_app(app: ASGIApp, sockets: list[socket.socket], on_end: Callable[[], None]) -> None:
    """Serve another application than the service's until SIGINT or SIGTERM; `on_end` then."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_OTHER_CONNECTIONS,
        timeout_graceful_shutdown=_OTHER_GRACE_S,
    )
    server = _Server(config, lambda: None, lambda _: on_end())
    with _recorded_signals():
        asyncio.run(server.serve(sockets))


def listen(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen at all addresses of a host's name, on one port.

    Raises:
        InvalidParameterError: the name leads nowhere, or the port is taken.
    """
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, where in sorted({(entry[0], entry[4]) for entry in found}):
            taken = sockets[0].getsockname()[1] if sockets else port
            # the protocol is named, or asyncio would leave Nagle's algorithm on: 40 ms an answer
            made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            sockets.append(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((where[0], taken, *where[2:]))
            made.listen(_BACKLOG)
    except OSError as error:
        for each in sockets:
            each.close()
        reason = (error.strerror or "no reason given").lower()
        raise InvalidParameterError(
            f"--host {host} --port {port}: cannot listen there: {reason}"
        ) from None
    return sockets


def address(host: str, listening: socket.socket) -> str:
    """Return the URL under which a service is reached that listens there."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"


@contextlib.contextmanager
def _recorded_signals() -> Iterator[list[int]]:
    """Note the signals that uvicorn raises again once it has ended, so that they end no more."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    before = {each: signal.signal(each, note) for each in _SIGNALS}
    try:
        yield received
    finally:
        for each, what in before.items():
            signal.signal(each, what)
