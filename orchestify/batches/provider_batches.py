"""Batches left to providers: submitted, followed, fetched and cancelled, by any process.

    submitting ── the provider's answer ──> running ──> ended ── all results booked ──> fetched
        └── the provider has no such batch ──> not_sent, or refused where it said so

A batch is in the ledger's database before anything of it is sent. Where the answer to its
submission was lost, it is searched at the provider by its id, and never sent a second time before
that has said that it is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias, TypeVar

from orchestify.batches.batch_plan import ONE_BY_ONE, BatchPlan, plan_of
from orchestify.batches.batch_results import Settlement
from orchestify.batches.many import BatchResult, Requests
from orchestify.batches.requests import RequestLike
from orchestify.calls.route import Route
from orchestify.calls.runtime import Runtime
from orchestify.calls.target import Target
from orchestify.errors import (
    APIError,
    BatchStateError,
    InvalidParameterError,
    InvalidResponseError,
    OrchestifyError,
)
from orchestify.lanes.batch_api import BatchApi, RemoteBatch, batch_api_of
from orchestify.lanes.responses.lane import lane_at
from orchestify.ledger.batches import (
    HELD_AFTER,
    OVER,
    WINDOW,
    BatchItem,
    BatchRow,
    BatchState,
    BatchStore,
    Booking,
)
from orchestify.ledger.record import utc_now
from orchestify.policy.budget import Budget
from orchestify.values import CompletionRequest

T = TypeVar("T")

Resolve: TypeAlias = Callable[[str, str, str], Target]
"""Takes the names of a provider, a model and an agent; returns the target as configured now."""

BOOKED_AT_ONCE = 500
"""How many results one transaction books."""

LISTED_AFTER = timedelta(minutes=5)
"""How long after it was sent a batch may yet appear in the provider's list."""

_MOST_LINES = 2
"""How many lines of results there may be for each request."""

_NO_SUCH_API = frozenset({404, 405, 501})
_GONE = 404


@dataclass(frozen=True, slots=True)
class ProviderBatch:
    """A batch as it stands.

    `state` is ours: `submitting` (the provider's answer is not known), `running`, `ended` (its
    results can be fetched), `fetched` (all of it is booked), `not_sent` or `refused`. `status` is
    the provider's own word, "" before it is known; `succeeded` and `failed` are its counts of
    `total` requests. `at_most_usd` is what the batch may cost at most, at the price of batches;
    None where nobody knows one. After `expires_at` the provider does no more of it.
    """

    id: str
    provider: str
    agent: str
    model: str
    state: BatchState
    status: str
    total: int
    succeeded: int
    failed: int
    submitted_at: datetime
    expires_at: datetime | None
    at_most_usd: Decimal | None
    remote_id: str


class ProviderBatches:
    """The batches in one ledger, and the providers that have them.

    `resolve` finds targets by name. `now` is the time of day.
    """

    def __init__(
        self, runtime: Runtime, resolve: Resolve, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._runtime = runtime
        self._resolve = resolve
        self._now = now

    async def submit(
        self, route: Route, requests: Requests, shared: Mapping[str, Any]
    ) -> ProviderBatch:
        """Leave the requests to the first provider of a route; see `LLMProvider.batch`."""
        store = self._store()
        given = await _listed(requests)
        plan = await asyncio.to_thread(plan_of, route, given, shared)
        earlier = await self._found_again(store, plan)
        if earlier is not None:
            return _told(earlier)
        batch = plan.row(self._now())
        await store.begin(batch, plan.items, plan.budgets)
        return _told(await self._send(store, plan, batch))

    async def all(self) -> list[ProviderBatch]:
        """Return the batches as the ledger has them, the latest first; nobody is asked.

        Raises:
            LedgerError: the database could not be read.
        """
        return [_told(each) for each in await self._store().all()]

    async def status(self, batch_id: str) -> ProviderBatch:
        """Ask the provider how a batch stands.

        Raises:
            BatchStateError: there is no such batch.
            APIError: the provider could not be asked.
        """
        batch = await self._row(batch_id)
        if batch.state not in OVER:
            batch, _ = await self._refreshed(batch_id)
        return _told(batch)

    async def fetch(self, batch_id: str) -> AsyncGenerator[BatchResult, None]:
        """Yield the results of a batch that has ended, in no order; each is booked before that.

        `index` is a request's place in the batch. What expired or was cancelled has a
        `BatchStateError`. A batch may be fetched again, as long as its provider keeps the results;
        it is booked once.

        Raises:
            BatchStateError: there is no such batch, or it has not ended, or its results are gone.
            APIError: the provider could not be asked, or the results did not come whole. What was
                yielded is booked; fetch again.
        """
        batch, remote = await self._refreshed(batch_id)
        if remote is None or not remote.has_ended:
            raise _not_ended(batch)
        store, target = self._store(), self._target_of(batch)
        items = await store.items(batch.id)
        fetching = _Fetching(
            store, Settlement(self._runtime, target, batch, remote), items, self._budgets(batch)
        )
        async with aclosing(fetching.results(_api_at(target, batch))) as results:
            async for result in results:
                yield result
        if batch.state != "fetched" and await store.finish(batch.id):
            await self._tidy(batch, target)

    async def cancel(self, batch_id: str) -> ProviderBatch:
        """Ask the provider to do no more of a batch; what was done by then is billed.

        It is fetched as others are, once the provider has ended it.

        Raises:
            BatchStateError: there is no such batch, or nothing of it runs.
            APIError: the provider could not be asked.
        """
        batch, _ = await self._refreshed(batch_id)
        if batch.state != "running":
            raise _not_running(batch)
        target = self._target_of(batch)
        remote = await _api_at(target, batch).cancel(batch.remote_id)
        await self._note(batch.id, remote, held_until=self._now() + HELD_AFTER)
        return _told(await self._row(batch.id))

    async def _send(self, store: BatchStore, plan: BatchPlan, batch: BatchRow) -> BatchRow:
        """Send a batch that is written down; whatever happens, the ledger says what is known."""
        try:
            headers = [each.headers for each in plan.encoded]
            prepared = await plan.api.prepare(batch.id, plan.lines(), headers)
        except BaseException as error:
            await _all_the_same(store.give_up(batch.id, _state_after(error)))
            raise _translated(error, batch) from None
        if not await store.update(batch.id, file_id=prepared.file_id, sent_at=self._now()):
            await self._tidy(replace(batch, file_id=prepared.file_id), plan.target)
            raise _given_up(batch)
        try:
            remote = await plan.api.create(batch.id, prepared)
        except BaseException as error:
            if not _is_refusal(error):
                await _all_the_same(store.update(batch.id, owner=None))
                raise _lost(error, batch) from None
            await _all_the_same(store.give_up(batch.id, _state_after(error)))
            await _all_the_same(self._tidy(await self._row(batch.id), plan.target))
            raise _translated(error, batch) from None
        if not await self._note(batch.id, remote):
            with suppress(APIError):
                await plan.api.cancel(remote.id)
            raise _given_up(batch)
        return await self._row(batch.id)

    async def _found_again(self, store: BatchStore, plan: BatchPlan) -> BatchRow | None:
        """Return the batch of the same requests whose submission was left open, if it was made.

        Raises:
            BatchStateError: nobody knows yet whether it was made.
        """
        for each in await store.all(["submitting"]):
            if each.provider == plan.target.provider_id and each.digest == plan.digest(each.id):
                found, _ = await self._refreshed(each.id)
                if found.state == "submitting":
                    raise _unsure(found)
                if found.state not in OVER:
                    return found
        return None

    async def _refreshed(self, batch_id: str) -> tuple[BatchRow, RemoteBatch | None]:
        """Return a batch as its provider tells it now; None beside it where it has none."""
        batch = await self._row(batch_id)
        if batch.state in ("not_sent", "refused"):
            return batch, None
        target = self._target_of(batch)
        api = _api_at(target, batch)
        if not batch.remote_id:
            return await self._searched(batch, target, api)
        try:
            remote = await api.retrieve(batch.remote_id)
        except APIError as error:
            if error.status != _GONE:
                raise
            raise BatchStateError(
                f"{batch.provider} has no batch {batch.remote_id} any more; results are kept for "
                "a month",
                batch_id=batch.id,
                state=batch.state,
            ) from None
        await self._note(batch.id, remote)
        return await self._row(batch.id), remote

    async def _searched(
        self, batch: BatchRow, target: Target, api: BatchApi
    ) -> tuple[BatchRow, RemoteBatch | None]:
        """Find out what became of a batch whose submission was left open."""
        store = self._store()
        if batch.is_submitting:
            return batch, None
        remote, is_there = None, batch.sent_at is not None
        if batch.sent_at is not None:
            known = {each.remote_id for each in await store.all()} - {""}
            found = await api.find(batch.id, since=batch.sent_at, total=batch.total, known=known)
            remote = found.found
            is_late = self._now() - batch.sent_at > LISTED_AFTER
            is_there = bool(remote or found.unsure or not is_late)
        if remote is not None:
            await self._note(batch.id, remote)
        elif not is_there:
            await store.give_up(batch.id, "not_sent")
            await self._tidy(batch, target)
        return await self._row(batch.id), remote

    async def _note(
        self, batch_id: str, remote: RemoteBatch, held_until: datetime | None = None
    ) -> bool:
        """Write what the provider says of a batch, if it is not over; return whether it is not."""
        batch = await self._row(batch_id)
        expires_at = remote.expires_at or batch.expires_at or batch.submitted_at + WINDOW
        if held_until is None and not batch.remote_id:
            held_until = expires_at + HELD_AFTER
        return await self._store().update(
            batch_id,
            held_until=held_until,
            owner=None,
            state="ended" if remote.has_ended else "running",
            remote_id=remote.id,
            remote_status=remote.status,
            succeeded=remote.succeeded,
            failed=remote.failed,
            expires_at=expires_at,
        )

    async def _tidy(self, batch: BatchRow, target: Target) -> None:
        """Delete the requests that the provider keeps; where that fails, it does so in its time."""
        with suppress(APIError):
            await _api_at(target, batch).tidy(batch.id, batch.file_id)

    async def _row(self, batch_id: str) -> BatchRow:
        batch = await self._store().get(batch_id)
        if batch is None:
            raise BatchStateError(
                f"there is no batch {batch_id!r:.80} in this ledger; `orchestify batch status` "
                "lists them",
                batch_id=batch_id,
            )
        return batch

    def _store(self) -> BatchStore:
        store = self._runtime.ledger.batch_store()
        if store is None:
            raise InvalidParameterError(
                "a batch outlasts this process, and a ledger in memory would not know of it any "
                f"more; set ledger.url. Without a database {ONE_BY_ONE}"
            )
        return store

    def _target_of(self, batch: BatchRow) -> Target:
        """Return the target that has the batch, with the key that it went out with."""
        target = self._resolve(batch.provider, batch.model, batch.agent)
        return next((each for each in target.keys if each.key == batch.key), target)

    def _budgets(self, batch: BatchRow) -> list[Budget]:
        """Return the budgets, as they are configured now, that the batch counts against."""
        target, found = self._target_of(batch), dict[Any, Budget]()
        for group in batch.groups:
            own = self._runtime.budgets_of(
                target.with_model(group.model), batch.agent, group.labels
            )
            found |= {each.key: each for each in own}
        return list(found.values())


@dataclass(slots=True)
class _Fetching:
    """One reading of a batch's results; what is read is booked, then yielded."""

    store: BatchStore
    settlement: Settlement
    items: Sequence[BatchItem]
    budgets: Sequence[Budget]

    async def results(self, api: BatchApi) -> AsyncGenerator[BatchResult, None]:
        """Yield a result for each request, in no order.

        Raises:
            InvalidResponseError: the provider has done more than it tells, or tells without end.
        """
        seen: set[int] = set()
        lines = 0
        waiting: list[tuple[Booking, BatchResult]] = []
        remote = self.settlement.remote
        async with aclosing(api.results(remote, self._asked)) as results:
            async for result in results:
                lines += 1
                if lines > _MOST_LINES * len(self.items):
                    raise self._incomplete(lines)
                item = None if result is None else self._item(result.custom_id)
                if result is None or item is None or item.number in seen:
                    continue
                seen.add(item.number)
                waiting.append(self.settlement.of_result(item, result))
                if len(waiting) == BOOKED_AT_ONCE:
                    for each in await self._booked(waiting):
                        yield each
                    waiting = []
        for each in await self._booked(waiting):
            yield each
        if lines < remote.succeeded:
            raise self._incomplete(lines)
        left = [item for item in self.items if item.number not in seen]
        for begin in range(0, len(left), BOOKED_AT_ONCE):
            rest = [self.settlement.of_nothing(item) for item in left[begin:][:BOOKED_AT_ONCE]]
            for each in await self._booked(rest):
                yield each

    async def _booked(
        self, settled: Sequence[tuple[Booking, BatchResult]]
    ) -> Iterable[BatchResult]:
        batch = self.settlement.batch
        if settled and batch.state != "fetched":
            await self.store.book(batch, [booking for booking, _ in settled], self.budgets)
        return [result for _, result in settled]

    def _incomplete(self, lines: int) -> InvalidResponseError:
        batch, succeeded = self.settlement.batch, self.settlement.remote.succeeded
        return InvalidResponseError(
            f"{lines:,} results came of batch {batch.id}, of which {succeeded:,} of "
            f"{batch.total:,} requests succeeded; fetch it again",
            provider=batch.provider,
        )

    def _item(self, custom_id: str) -> BatchItem | None:
        key, _, number = custom_id.rpartition("-")
        if key != self.settlement.batch.id or not (number.isascii() and number.isdigit()):
            return None
        place = int(number)
        return self.items[place] if place < len(self.items) else None

    def _asked(self, custom_id: str) -> CompletionRequest | None:
        item = self._item(custom_id) if isinstance(custom_id, str) else None
        return None if item is None else self.settlement.asked(item)


async def _listed(requests: Requests) -> list[RequestLike]:
    if isinstance(requests, (str, bytes, Mapping)) or not isinstance(
        requests, (Iterable, AsyncIterable)
    ):
        raise InvalidParameterError("requests are several; put a single one into a list")
    if isinstance(requests, AsyncIterable):
        return [each async for each in requests]
    return list(requests)


async def _all_the_same(work: Awaitable[T]) -> None:
    """Do what has to be done although something else failed; that error is the one to raise."""
    with suppress(OrchestifyError):
        await asyncio.shield(asyncio.ensure_future(work))


def _api_at(target: Target, batch: BatchRow) -> BatchApi:
    api = batch_api_of(lane_at(target.lane, target.model))
    if api is None:
        raise BatchStateError(
            f"batch {batch.id} is at {batch.provider}, which has no batch API as it is configured "
            "now",
            batch_id=batch.id,
            state=batch.state,
        )
    return api


def _is_refusal(error: BaseException) -> bool:
    """Whether the provider said no, or was never reached: then it has made no batch."""
    if not isinstance(error, APIError):
        return False
    if error.status is None:
        return not error.may_be_billed
    return error.status < 500 and error.status != 408


def _state_after(error: BaseException) -> BatchState:
    """Return the state of a batch that was not made because of an error."""
    return "refused" if isinstance(error, APIError) and error.status else "not_sent"


def _translated(error: BaseException, batch: BatchRow) -> BaseException:
    """Return what a refused submission raises: the provider's error, or that it has no batches."""
    if isinstance(error, APIError) and error.status in _NO_SUCH_API:
        return InvalidParameterError(
            f"{batch.provider} has no batch API at its address (status {error.status}); "
            f"{ONE_BY_ONE}"
        )
    return error


def _lost(error: BaseException, batch: BatchRow) -> BaseException:
    if not isinstance(error, APIError):
        return error
    return BatchStateError(
        f"the answer to the submission of batch {batch.id} was lost ({error}); it may have been "
        f"made: `orchestify batch status {batch.id}` finds out",
        batch_id=batch.id,
        state="submitting",
    )


def _given_up(batch: BatchRow) -> BatchStateError:
    return BatchStateError(
        f"batch {batch.id} was given up by another process while this one was away; submit the "
        "requests again",
        batch_id=batch.id,
        state="not_sent",
    )


def _unsure(batch: BatchRow) -> BatchStateError:
    why = (
        "is being submitted by another process"
        if batch.is_submitting
        else "was sent, its answer was lost, and the provider does not yet say whether it is there"
    )
    return BatchStateError(
        f"batch {batch.id} with the same requests {why}; ask again later with `orchestify batch "
        f"status {batch.id}`",
        batch_id=batch.id,
        state=batch.state,
    )


def _not_ended(batch: BatchRow) -> BatchStateError:
    if batch.state == "running":
        what = (
            f"batch {batch.id} has not ended: {batch.remote_status}, "
            f"{batch.succeeded + batch.failed:,} of {batch.total:,} requests done; fetch it later"
        )
    elif batch.state == "submitting":
        what = str(_unsure(batch))
    else:
        what = f"batch {batch.id} was never made ({batch.state}); submit the requests again"
    return BatchStateError(what, batch_id=batch.id, state=batch.state)


def _not_running(batch: BatchRow) -> BatchStateError:
    what = {
        "ended": f"batch {batch.id} has ended; `orchestify batch fetch {batch.id}`",
        "fetched": f"batch {batch.id} is fetched; there is nothing to cancel",
    }.get(batch.state)
    return (
        BatchStateError(what, batch_id=batch.id, state=batch.state) if what else _not_ended(batch)
    )


def _told(batch: BatchRow) -> ProviderBatch:
    return ProviderBatch(
        id=batch.id,
        provider=batch.provider,
        agent=batch.agent,
        model=batch.model,
        state=batch.state,
        status=batch.remote_status,
        total=batch.total,
        succeeded=batch.succeeded,
        failed=batch.failed,
        submitted_at=batch.submitted_at,
        expires_at=batch.expires_at,
        at_most_usd=batch.at_most_usd,
        remote_id=batch.remote_id,
    )
