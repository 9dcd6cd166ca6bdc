"""What a provider's batch API is asked and what it answers, in no provider's words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from orchestify.errors import APIError
from orchestify.lanes.classify import Failure, error_class
from orchestify.lanes.failures import MISSHAPEN, MalformedError, UnusableError, bare
from orchestify.lanes.http.endpoint import Endpoint
from orchestify.lanes.http.transport import FAILURES
from orchestify.lanes.lane import Lane
from orchestify.lanes.large_json import Body
from orchestify.lanes.parsing import LARGE
from orchestify.values import NOTHING, CompletionRequest, LLMResponse

T = TypeVar("T")

ASK_S = 60.0
"""How long a question about a batch may take, in seconds."""

SEND_S = 3600.0
"""How long the requests of a batch may take to arrive: they have up to 256 MB."""

SILENCE_S = 60.0
"""How long nothing may come between two pieces of the results."""

MOST_PAGES = 100
CLOCK_SLACK = timedelta(hours=1)
"""How far the provider's clock may be behind ours, where batches are searched by time."""

_NAME = re.compile(r"[A-Za-z0-9][\w.:-]{0,199}", re.ASCII)

ResultOutcome: TypeAlias = Literal["ok", "failed", "expired", "cancelled"]
RequestOf: TypeAlias = Callable[[str], CompletionRequest | None]
"""What was asked under a custom id, as far as it is known; None where it is none of ours."""


class BatchLine(NamedTuple):
    """One request of a batch: its custom id, and its body as JSON."""

    custom_id: str
    body: bytes


class EncodedRequest(NamedTuple):
    """A request as a batch takes it: its body as JSON, and the headers that it needs."""

    body: bytes
    headers: Mapping[str, str] = NOTHING


@dataclass(frozen=True, slots=True)
class Prepared:
    """The requests on their way: a file that the provider keeps, or the body that has them."""

    file_id: str = ""
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = NOTHING


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch as its provider tells it.

    `status` is the provider's own word. `total`, `succeeded` and `failed` count requests; what has
    expired or was cancelled counts as failed where the provider counts it. `problem` has the codes
    of what is wrong with a batch that failed as a whole. `results` are the files of the answers.
    """

    id: str
    status: str
    has_ended: bool
    total: int = 0
    succeeded: int = 0
    failed: int = 0
    created_at: datetime | None = None
    expires_at: datetime | None = None
    problem: str = ""
    results: tuple[str, ...] = ()

    @property
    def left_as(self) -> ResultOutcome | None:
        """What became of requests without a result; None where the batch was done to its end."""
        if self.status in ("expired", "cancelled", "failed"):
            return self.status  # type: ignore[return-value]
        return None


@dataclass(frozen=True, slots=True)
class RemoteResult:
    """What became of one request: its answer, or an error where there is none."""

    custom_id: str
    outcome: ResultOutcome
    response: LLMResponse | None = None
    error: APIError | None = None


class Search(NamedTuple):
    """What a search for a batch found; `unsure` are the ids of those that could be it."""

    found: RemoteBatch | None = None
    unsure: tuple[str, ...] = ()


class BatchApi(Protocol):
    """A provider's batch API behind one lane. Everything it raises is an `APIError`.

    `most_requests` and `most_bytes` are what one batch takes; with `one_model` all its requests
    are for the same model.
    """

    most_requests: int
    most_bytes: int
    one_model: bool

    def encoded(self, request: CompletionRequest) -> EncodedRequest:
        """Return a request as a batch takes it.

        Raises:
            InvalidParameterError: the provider would refuse it.
        """

    async def prepare(
        self, key: str, lines: Sequence[BatchLine], headers: Sequence[Mapping[str, str]]
    ) -> Prepared:
        """Bring the requests of a batch on their way; nothing is processed by that.

        `key` is ours, by which the batch is found again; `headers` are what the requests need.
        """

    async def create(self, key: str, prepared: Prepared) -> RemoteBatch:
        """Have the batch processed."""

    async def retrieve(self, batch_id: str) -> RemoteBatch:
        """Return a batch as it stands."""

    async def cancel(self, batch_id: str) -> RemoteBatch:
        """Ask that no further request be processed, and return the batch."""

    async def find(
        self, key: str, *, since: datetime, total: int, known: Collection[str]
    ) -> Search:
        """Find the batch that was created under `key` since a moment, with `total` requests.

        `known` are ids of other batches.
        """

    def results(
        self, batch: RemoteBatch, request_of: RequestOf
    ) -> AsyncGenerator[RemoteResult | None, None]:
        """Yield the results of a batch that has ended, in no order; None for any other line.

        Raises:
            APIError: they did not come whole. What was yielded holds.
        """

    async def tidy(self, key: str, file_id: str) -> None:
        """Delete the requests that the provider keeps under `key`, if it keeps them in a file."""


@dataclass(frozen=True, slots=True)
class BatchingLane:
    """The part of a lane that its batch API uses.

    `path` is where its requests go. `encoded` returns a request as the lane would send it,
    `json_in` what a body says and `answer_in` the answer in it; they raise what the lane does.
    `explained` returns the error to raise for one of these.
    """

    provider_id: str
    path: str
    endpoint: Endpoint = field(repr=False)
    encoded: Callable[[CompletionRequest], EncodedRequest]
    json_in: Callable[[Body], Any]
    answer_in: Callable[[Any, CompletionRequest], LLMResponse]
    explained: Callable[[BaseException, CompletionRequest | None], Awaitable[APIError]]


def batch_api_of(lane: Lane) -> BatchApi | None:
    """Return the batch API behind a lane, None where it has none."""
    api: BatchApi | None = getattr(lane, "batch_api", None)
    return api


class BatchHttp:
    """Requests about batches, over one lane's endpoint; `read` reads what it says of one."""

    def __init__(
        self, lane: BatchingLane, read: Callable[[Mapping[str, Any]], RemoteBatch]
    ) -> None:
        self._lane = lane
        self._read = read

    async def batch(self, method: str, path: str, **how: Any) -> RemoteBatch:
        """Return the batch that a path answers with; `how` is what `object_at` takes."""

        async def read() -> RemoteBatch:
            return self._read(await self.object_at(method, path, **how))

        return await self.asked(read())

    async def asked(self, work: Awaitable[T]) -> T:
        """Return what the work returns; what goes wrong with it is raised as an `APIError`."""
        try:
            return await work
        except asyncio.CancelledError as error:
            raise bare(error)  # noqa: B904
        except FAILURES as error:
            explained = await self._lane.explained(error, None)
        raise explained

    async def object_at(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ASK_S,
    ) -> Mapping[str, Any]:
        """Return the JSON object that a path answers with."""
        answer = await self._lane.endpoint.ask(
            method, path, body=body, headers=headers, timeout_s=timeout_s
        )
        value = await self._value_in(answer)
        if not isinstance(value, Mapping):
            raise MalformedError("the answer is no object")
        return value

    async def pages(self, path: str, after: str) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield what a path lists, from page to page; `after` is the parameter that turns them."""
        query = "?limit=100"
        for _ in range(MOST_PAGES):
            page = await self.asked(self.object_at("GET", f"{path}{query}"))
            rows = page.get("data")
            rows = [each for each in rows if isinstance(each, Mapping)] if rows else []
            for row in rows:
                yield row
            if not page.get("has_more") or not rows:
                return
            query = f"?limit=100&{after}={checked_name(rows[-1].get('id'))}"

    async def results(
        self, path: str, read: Callable[[Any], RemoteResult | Unread | None]
    ) -> AsyncGenerator[RemoteResult | None, None]:
        """Yield what `read` makes of each line at a path; None for a line that is none of ours.

        What `read` returns as `Unread` is an answer that is yet to be read.
        """
        lines = self._lane.endpoint.lines(path, silence_s=SILENCE_S)
        try:
            async with aclosing(lines):
                async for line in lines:
                    if line.strip():
                        yield await self._result(line, read)
            return
        except asyncio.CancelledError as error:
            raise bare(error)  # noqa: B904
        except FAILURES as error:
            explained = await self._lane.explained(error, None)
        raise explained

    async def _result(
        self, line: bytes, read: Callable[[Any], RemoteResult | Unread | None]
    ) -> RemoteResult | None:
        try:
            found = read(await self._value_in(line))
        except (UnusableError, *MISSHAPEN):
            return None
        return await self._answered(found) if isinstance(found, Unread) else found

    async def _value_in(self, body: Body) -> Any:
        if len(body) >= LARGE:
            return await self._lane.endpoint.off_loop(self._lane.json_in, body)
        return self._lane.json_in(body)

    async def _answered(self, unread: Unread) -> RemoteResult:
        try:
            response = self._lane.answer_in(unread.body, unread.request)
        except FAILURES as error:
            explained = await self._lane.explained(error, unread.request)
        else:
            return RemoteResult(unread.custom_id, "ok", response)
        return RemoteResult(unread.custom_id, "failed", error=explained)

    def refused(self, custom_id: str, failure: Failure, model: str) -> RemoteResult:
        """Return the result of a request that the provider refused or failed at.

        Nobody keeps the request, so that its words cannot be struck out of the provider's message:
        only its codes are told.
        """
        kind = error_class(failure)
        codes = ", ".join(sorted(each for each in failure.words if _NAME.fullmatch(each)))
        message = f"{kind.default_message} ({codes})" if codes else ""
        error = kind(message, provider=self._lane.provider_id, model=model, status=failure.status)
        error.may_be_billed = False  # neither vendor bills what failed in a batch
        return RemoteResult(custom_id, "failed", error=error)


class Unread(NamedTuple):
    """A request's answer as it came, and what was asked."""

    custom_id: str
    body: Any
    request: CompletionRequest


def checked_name(name: object) -> str:
    """Return an id of the provider's, to stand in a path.

    Raises:
        MalformedError: it is none that could.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise MalformedError("an id in the answer is none")
    return name


def count_in(counts: Any, *names: str) -> int:
    """Return the sum of counts that are there and are such."""
    found = [counts.get(name) for name in names] if isinstance(counts, Mapping) else []
    return sum(each for each in found if type(each) is int and each > 0)


def joined_headers(headers: Iterable[Mapping[str, str]], name: str) -> Mapping[str, str]:
    """Return what one header says in all of these, each word once, in order."""
    words = [word.strip() for each in headers for word in each.get(name, "").split(",")]
    said = ",".join(dict.fromkeys(filter(None, words)))
    return {name: said} if said else NOTHING
