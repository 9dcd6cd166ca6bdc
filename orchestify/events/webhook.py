"""A webhook for alerts: each event signed, sent from a thread of its own, tried again.

Headers are those of the Standard Webhooks specification, as are the signatures.
Source: github.com/standard-webhooks/standard-webhooks.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from orchestify.events.signatures import secret_bytes, signature

if TYPE_CHECKING:
    from aiohttp import ClientSession

logger = logging.getLogger("orchestify.events")

CAPACITY = 1000  # alerts that wait, for their first attempt or their next
EXIT_S = 1.0  # what the interpreter's exit waits for alerts under way, at most
AT_ONCE = 4
_GONE = 410  # the receiver wants no more. Source: the specification, "Deliverability"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an alert is delivered: each attempt within `timeout_s`, with exponential backoff.

    Of `attempts`, the first is at once; the n-th delay is between half and all of
    `first_delay_s` * 2^(n - 1), at most `max_delay_s`, or what Retry-After says, if that is no
    more than that.
    """

    attempts: int = 8
    first_delay_s: float = 1.0
    max_delay_s: float = 300.0
    timeout_s: float = 15.0

    def delay_s(self, attempt: int, retry_after: str, chance: float) -> float:
        """Return the seconds to wait after an attempt, counted from 1; `chance` is in [0, 1)."""
        if retry_after.isdecimal() and len(retry_after) < 9:
            return min(float(retry_after), self.max_delay_s)
        longest = min(self.first_delay_s * 2.0 ** (attempt - 1), self.max_delay_s)
        return longest * (0.5 + chance / 2)


class Webhook:
    """Sends events to an address; `send` never waits, and at most `CAPACITY` of them wait.

    `types` has the type that the receiver is told of each class of event. `tenant` is told where
    there is one. What is not delivered is counted in `dropped`, and logged without the address,
    which may be secret but for its host. A forked child has its own thread.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        types: Mapping[type[Any], str],
        *,
        tenant: str = "",
        delivery: Delivery | None = None,
    ) -> None:
        """Take the address and its secret; nothing is sent yet.

        Raises:
            ValueError: the secret is none, see `secret_bytes`.
        """
        self.types = types
        self._tenant = tenant
        self._make = partial(_Sender, url, secret_bytes(secret), delivery or Delivery())
        self._senders: dict[int, _Sender] = {}  # by process: a fork takes no threads along
        self._is_closed = False

    @property
    def dropped(self) -> int:
        """How many events were not delivered: too many waited, or no attempt was taken."""
        sender = self._senders.get(os.getpid())
        return 0 if sender is None else sender.dropped

    def send(self, event: Any) -> None:
        """Hand an event over; never waits."""
        if self._is_closed:
            return
        said = ((each.name, getattr(event, each.name)) for each in dataclasses.fields(event))
        fields = {name: value for name, value in said if value is not None}
        kind = self.types[type(event)]
        message = {
            "type": kind,
            "timestamp": datetime.now(UTC).isoformat(),
            "data": {"tenant": self._tenant, **fields} if self._tenant else fields,
        }
        sender = self._senders.get(os.getpid()) or self._start()
        sender.put(kind, json.dumps(message, default=str).encode())

    def close(self, timeout_s: float = 2.0) -> None:
        """Wait for what is under way, at most `timeout_s`; the rest is dropped, later events too.

        On an event loop: `await asyncio.to_thread(webhook.close)`.
        """
        self._is_closed = True
        sender = self._senders.pop(os.getpid(), None)
        if sender is not None:
            sender.stop(timeout_s)
            sender.join(timeout_s + 1)

    def _start(self) -> _Sender:
        sender = self._senders[os.getpid()] = self._make()
        sender.start()
        weakref.finalize(self, _finish, sender)  # at the interpreter's exit, too
        return sender


class _Sender:
    """A thread with an event loop, on which each message is a task."""

    def __init__(self, url: str, key: bytes, delivery: Delivery) -> None:
        self.dropped = 0
        self._url, self._key, self._delivery = url, key, delivery
        self._host = urlsplit(url).hostname
        self._waiting = 0
        self._is_gone = False
        self._has_overflowed = False
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._session: ClientSession | None = None
        self._thread = threading.Thread(target=self._run, name="orchestify-webhook", daemon=True)

    def start(self) -> None:
        """Start the thread, unless the interpreter is going down."""
        with suppress(RuntimeError):
            self._thread.start()

    def put(self, kind: str, body: bytes) -> None:
        """Take a message, if fewer than `CAPACITY` wait."""
        with self._lock:
            if self._is_gone or self._waiting >= CAPACITY:
                self.dropped += 1
                is_first, self._has_overflowed = not (self._is_gone or self._has_overflowed), True
            else:
                self._waiting += 1
                is_first = None
        if is_first is None:
            self._call(self._begin, kind, body)
        elif is_first:
            logger.warning("%d alerts wait for the webhook; more are dropped; told once", CAPACITY)

    def stop(self, timeout_s: float) -> None:
        """End once what is under way has ended, at most after `timeout_s`; waits for nothing."""
        self._call(lambda: self._loop.create_task(self._end(timeout_s)))

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end, unless it is the one that asks or never began."""
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _call(self, callback: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def _begin(self, kind: str, body: bytes) -> None:
        task = self._loop.create_task(self._deliver(kind, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, kind: str, body: bytes) -> None:
        message_id, outcome, delivery = f"msg_{uuid4().hex}", "", self._delivery
        is_taken = False
        try:
            for attempt in range(1, delivery.attempts + 1):
                async with self._slots:
                    if self._is_gone:
                        return
                    is_taken, outcome, retry_after = await self._post(message_id, body)
                if is_taken or self._is_gone or attempt == delivery.attempts:
                    return
                await asyncio.sleep(delivery.delay_s(attempt, retry_after, random.random()))  # noqa: S311
        finally:
            with self._lock:
                self._waiting -= 1
                self.dropped += not is_taken
            if not is_taken:
                logger.warning("the webhook at %s did not take %s: %s", self._host, kind, outcome)

    async def _post(self, message_id: str, body: bytes) -> tuple[bool, str, str]:
        """Send once; return whether it was taken, in words what came, and Retry-After."""
        import aiohttp  # noqa: PLC0415 - few have a webhook

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._delivery.timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=True)
        timestamp = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._key, message_id, timestamp, body),
        }
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                self._is_gone |= answer.status == _GONE
                is_taken = 200 <= answer.status < 300
                return is_taken, f"status {answer.status}", answer.headers.get("retry-after", "")
        except (aiohttp.ClientError, OSError, RuntimeError, ValueError) as error:
            return False, type(error).__name__, ""

    async def _end(self, timeout_s: float) -> None:
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        self._loop.stop()


def _finish(sender: _Sender) -> None:
    sender.stop(EXIT_S)
    sender.join(EXIT_S + 1)
