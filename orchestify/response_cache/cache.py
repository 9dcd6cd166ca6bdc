"""Answers kept for equal requests, and one request for equal calls at once."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from orchestify.errors import OrchestifyError, VaultError
from orchestify.ledger.record import new_id
from orchestify.response_cache.kept_answer import KeptAnswer, answer_in, text_of
from orchestify.response_cache.store import Bounds, Place, Store
from orchestify.values import LLMResponse, StreamEvent

if TYPE_CHECKING:
    from orchestify.vault.cipher import Cipher

FORM = b"orchestify response cache 1"
"""The form of the keys: with another one nothing that was kept before is found."""

STORE_S = 5.0
"""How long a store may take; one that takes longer is away."""

LEASE_S = 30.0
"""How long other processes wait for one that asks; where it has died, or takes longer, they ask."""

AGAIN = ""
"""What lands of a flight whose call was cancelled: that says nothing about the request."""

FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 0.5  # between two looks for what another process asks

T = TypeVar("T")

log = logging.getLogger("orchestify.response_cache")


class ResponseCache:
    """The answers of one tenant under one setting.

    Of equal calls at once, in all processes with the same store, one asks, and the others wait for
    its answer. Where it fails, is cancelled, or its answer is not one to keep, each of this process
    asks for itself. Nothing about the store fails a call: where it is away, calls ask and nothing
    is kept. Texts in a store beyond this process are encrypted where there is a `cipher`; each
    opens only as the tenant's and the key's that it was kept for. Safe across event loops.
    """

    def __init__(
        self,
        store: Store,
        bounds: Bounds,
        *,
        tenant: str = "",
        cipher: Cipher | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._bounds = bounds
        self._tenant = tenant
        self._cipher = cipher
        self._sleep = sleep
        self._name = f"{bounds.ttl_s:g}-{bounds.max_entries}"
        self._flights: dict[str, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_away = False
        self._told_unreadable = False

    def __repr__(self) -> str:
        return f"<ResponseCache {self._name}>"

    def key(self, *parts: bytes | str) -> str:
        """Return the digest of all that decides an answer; who has no cipher cannot try guesses."""
        digest = hashlib.blake2b(FORM, digest_size=32)
        for part in (self._tenant, *parts):
            data = part.encode("utf-8", "replace") if isinstance(part, str) else part
            digest.update(len(data).to_bytes(8, "big"))
            digest.update(data)
        plain = digest.hexdigest()
        return plain if self._cipher is None else self._cipher.keyed_digest(plain)

    async def find(self, key: str, wait_s: float) -> KeptAnswer | Flight:
        """Return the answer that is kept or comes within `wait_s`, else a flight to ask under."""
        ends_at = time.monotonic() + wait_s
        own = Flight(self, key)
        while (leader := self._flights.setdefault(key, own)) is not own:
            if leader.is_of_this_task:  # which would wait for itself
                return self.asking(key)
            text = await _landed(leader, ends_at - time.monotonic())
            if text != AGAIN:
                return (answer_in(text) if text else None) or self.asking(key)
        try:
            text = await self._looked_up(own, ends_at - time.monotonic())
        except BaseException:
            own.give_up(AGAIN)
            raise
        kept = answer_in(text) if text else None
        if text is None or kept is None:
            return own
        self._forget(own)
        own.land(text)
        return kept

    def asking(self, key: str) -> Flight:
        """Return a flight that nobody waits for; its answer takes the place of what is kept."""
        return Flight(self, key)

    def refreshing(self, key: str) -> Flight:
        """Return a flight that those who begin later wait for, whatever is kept.

        Where no answer comes of it, they get what is kept.
        """
        flight = self._flights[key] = Flight(self, key, is_refresh=True)
        return flight

    async def clear(self) -> int:
        """Drop all answers of the tenant in the store, of all its settings; return how many.

        Raises:
            OrchestifyError: the store is away.
        """
        await self._written()
        return await self._store.clear(self._tenant)

    async def aclose(self) -> None:
        """Wait until what came is kept, and close the store."""
        await self._written()
        await self._store.aclose()

    def keep(self, flight: Flight, text: str) -> None:
        """Put a flight's answer into the store; until it is there, calls find it at the flight."""
        sealed = self._sealed(flight.key, text)
        place = self._place(flight.key)
        self._begin(flight, lambda: self._store.keep(place, flight.id, sealed, self._bounds))

    def let_go(self, flight: Flight) -> None:
        """Let others ask: no answer comes of a flight."""
        self._forget(flight)
        if flight.is_noted:
            place = self._place(flight.key)
            self._begin(flight, lambda: self._store.give_up(place, flight.id))

    def _forget(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    async def _written(self) -> None:
        """Wait until what came on this event loop is kept."""
        loop = asyncio.get_running_loop()
        own = [each for each in tuple(self._tasks) if each.get_loop() is loop]
        await asyncio.gather(*own, return_exceptions=True)

    async def _looked_up(self, flight: Flight, wait_s: float) -> str | None:
        """Return the answer's text that is kept; None where the flight is to ask."""
        look_s, waited_s, place = FIRST_LOOK_S, 0.0, self._place(flight.key)
        while True:
            flight.is_noted = True  # it may be, where this is cancelled
            found = await self._tried(self._store.find(place, flight.id, LEASE_S))
            flight.is_noted = found is not None and found.text is None and found.is_ours
            if found is None:  # the store is away
                return None
            if found.text is not None:
                return self._read(flight.key, found.text)
            if found.is_ours or waited_s >= wait_s:
                return None
            await self._sleep(min(look_s, wait_s - waited_s))
            waited_s += look_s
            look_s = min(2 * look_s, LONGEST_LOOK_S)

    def _read(self, key: str, sealed: str) -> str | None:
        """Return the answer's text in what was stored; one that cannot be read is told once."""
        text = self._opened(key, sealed)
        if text is not None and answer_in(text) is not None:
            return text
        if not self._told_unreadable:
            self._told_unreadable = True
            log.warning(
                "a kept answer cannot be read (damaged, of another version, or under an encryption "
                "key that is not set); it is asked for anew, as will others be"
            )
        return None

    def _sealed(self, key: str, text: str) -> str:
        whole = f"{self._head(key)}{text}"
        return whole if self._cipher is None else self._cipher.encrypt(whole)

    def _opened(self, key: str, sealed: str) -> str | None:
        text = sealed
        if self._cipher is not None:
            try:
                text = self._cipher.decrypt(sealed).get_secret_value()
            except VaultError:
                return None
        head = self._head(key)
        return text.removeprefix(head) if text.startswith(head) else None

    def _head(self, key: str) -> str:
        return f"{self._tenant}\n{key}\n"

    def _place(self, key: str) -> Place:
        return Place(self._tenant, self._name, key)

    def _begin(self, flight: Flight, work: Callable[[], Awaitable[None]]) -> None:
        """Write beside the calls; `aclose` waits for it."""

        async def written() -> None:
            try:
                await self._tried(work())
            finally:
                self._forget(flight)

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a stream's last reference went after its loop
            self._forget(flight)
            return
        task = loop.create_task(written(), name="orchestify-keep-answer")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tried(self, work: Awaitable[T]) -> T | None:
        """Do a store's work; None where it is away, which is told once until it is back."""
        limit = asyncio.timeout(STORE_S)
        try:
            async with limit:
                result = await work
        except (OrchestifyError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and not limit.expired():
                raise
            if not self._is_away:
                self._is_away = True
                why = f"nothing for {STORE_S:g} s" if limit.expired() else error
                log.warning("the response cache's store is away, calls go on without it: %s", why)
            return None
        self._is_away = False
        return result


class Flight:
    """One request that a call makes, and equal calls may wait for.

    `landed` gets the answer's text; or None, each is to ask for itself; or `AGAIN`, one of them is
    to ask in its place. `is_noted` says that the store tells other processes of it. `events` are
    those of a stream so far, None where the call is none. Its first end counts.
    """

    def __init__(self, cache: ResponseCache, key: str, *, is_refresh: bool = False) -> None:
        self.id = new_id()
        self.key = key
        self.is_noted = False
        self.events: list[StreamEvent] | None = None
        self.landed: Future[str | None] = Future()
        self.landed.set_running_or_notify_cancel()  # so that no waiter can cancel it
        self._cache = cache
        self._is_refresh = is_refresh
        self._task = weakref.ref(task) if (task := asyncio.current_task()) is not None else None

    @property
    def is_of_this_task(self) -> bool:
        """Whether it is under way in the task that asks: a stream, half read."""
        own = None if self._task is None else self._task()
        return not self.landed.done() and own is asyncio.current_task()

    def answered(self, response: LLMResponse, *, is_whole: bool = True) -> None:
        """Keep an answer, and give it to who waits for it; unless it `is_whole`, none is kept."""
        text = text_of(response, self.events) if is_whole else None
        if text is None:
            self.give_up()
        elif self.land(text):
            self._cache.keep(self, text)

    def give_up(self, what: str | None = None) -> None:
        """Let each that waits ask for itself, or with `AGAIN` one of them; nothing is kept."""
        if not self.landed.done():
            self._cache.let_go(self)
            self.land(AGAIN if self._is_refresh else what)

    def land(self, text: str | None) -> bool:
        """Give a text to who waits, once; say whether this was the first end."""
        if self.landed.done():
            return False
        self.landed.set_result(text)
        return True


async def _landed(leader: Flight, wait_s: float) -> str | None:
    """Return what lands of another call's flight, None where nothing does in time.

    The end of who waits does not touch the flight.
    """
    waiting = asyncio.wrap_future(leader.landed)
    await asyncio.wait((waiting,), timeout=max(0.0, wait_s))
    return waiting.result() if waiting.done() else None
