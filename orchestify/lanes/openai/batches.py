"""OpenAI's Batch API over a lane: a file of requests, the batch made of it, files of results.

Sources, read in November 2026: OpenAI, "Batch API" (50,000 requests and 200 MB a batch, one model a
file, 24 hours, results in no order, what was done before a batch expired or was cancelled is kept
and billed) and the reference of `/v1/batches` and `/v1/files`. Codes of requests that were not
done: `batch_expired`, `batch_cancelled`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from orchestify.lanes.batch_api import (
    CLOCK_SLACK,
    SEND_S,
    BatchHttp,
    BatchingLane,
    BatchLine,
    EncodedRequest,
    Prepared,
    RemoteBatch,
    RemoteResult,
    RequestOf,
    ResultOutcome,
    Search,
    Unread,
    checked_name,
    count_in,
)
from orchestify.lanes.classify import failure_from_data
from orchestify.values import CompletionRequest

FILES, BATCHES = "/files", "/batches"
METADATA = "orchestify_batch"
"""The key of a batch's metadata under which ours stands."""

_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_NOT_DONE: Mapping[Any, ResultOutcome] = {
    "batch_expired": "expired",
    "batch_cancelled": "cancelled",
}


class OpenAIBatches:
    """The batch API of an endpoint that speaks OpenAI's; see `BatchApi`."""

    most_requests = 50_000
    most_bytes = 200_000_000
    one_model = True

    def __init__(self, lane: BatchingLane) -> None:
        self._lane = lane
        self._http = BatchHttp(lane, _batch_of)

    @property
    def _url(self) -> str:
        """The path that a line names; it is OpenAI's own, wherever the endpoint begins."""
        return f"/v1{self._lane.path}"

    def encoded(self, request: CompletionRequest) -> EncodedRequest:
        """Return a request as a batch takes it; headers of its own are not taken."""
        return EncodedRequest(self._lane.encoded(request).body)

    async def prepare(
        self, key: str, lines: Sequence[BatchLine], headers: Sequence[Mapping[str, str]]
    ) -> Prepared:
        """Upload the requests."""
        boundary = secrets.token_hex(16).encode()
        url = json.dumps(self._url).encode()
        content = (
            b'{"custom_id":%s,"method":"POST","url":%s,"body":%s}\n'
            % (json.dumps(line.custom_id).encode(), url, line.body)
            for line in lines
        )
        whole = b"".join(
            (
                b'--%s\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
                % boundary,
                b'--%s\r\ncontent-disposition: form-data; name="file"; filename="%s"\r\n'
                % (boundary, _file_name(key).encode()),
                b"content-type: application/jsonl\r\n\r\n",
                *content,
                b"\r\n--%s--\r\n" % boundary,
            )
        )
        kind = f"multipart/form-data; boundary={boundary.decode()}"
        work = self._http.object_at(
            "POST", FILES, body=whole, headers={"content-type": kind}, timeout_s=SEND_S
        )

        async def uploaded() -> Prepared:
            return Prepared(file_id=checked_name((await work).get("id")))

        return await self._http.asked(uploaded())

    async def create(self, key: str, prepared: Prepared) -> RemoteBatch:
        """Make a batch of the file."""
        body = {
            "input_file_id": prepared.file_id,
            "endpoint": self._url,
            "completion_window": "24h",
            "metadata": {METADATA: key},
        }
        return await self._http.batch("POST", BATCHES, body=json.dumps(body).encode())

    async def retrieve(self, batch_id: str) -> RemoteBatch:
        """Return a batch as it stands."""
        return await self._http.batch("GET", f"{BATCHES}/{batch_id}")

    async def cancel(self, batch_id: str) -> RemoteBatch:
        """Ask that no further request be processed; it takes up to ten minutes."""
        return await self._http.batch("POST", f"{BATCHES}/{batch_id}/cancel", body=b"{}")

    async def find(
        self,
        key: str,
        *,
        since: datetime,
        total: int,
        known: Collection[str],
    ) -> Search:
        """Find the batch whose metadata has the key."""
        async with aclosing(self._http.pages(BATCHES, "after")) as rows:
            async for row in rows:
                metadata = row.get("metadata")
                if isinstance(metadata, Mapping) and metadata.get(METADATA) == key:
                    return Search(_batch_of(row))
                created = _moment(row.get("created_at"))
                if created is not None and created < since - CLOCK_SLACK:
                    break
        return Search()

    async def results(
        self, batch: RemoteBatch, request_of: RequestOf
    ) -> AsyncGenerator[RemoteResult | None, None]:
        """Yield what the files of answers and of errors have."""

        def read(line: Any) -> RemoteResult | Unread | None:
            return self._read(line, request_of)

        for file_id in batch.results:
            results = self._http.results(f"{FILES}/{file_id}/content", read)
            async with aclosing(results):
                async for result in results:
                    yield result

    async def tidy(self, key: str, file_id: str) -> None:
        """Delete the file of the requests, by its id or, where that is not known, by its name."""
        ids = [file_id] if file_id else [name async for name in self._files_of(key)]
        for each in ids:
            await self._http.asked(self._http.object_at("DELETE", f"{FILES}/{each}"))

    async def _files_of(self, key: str) -> AsyncGenerator[str, None]:
        async with aclosing(self._http.pages(FILES, "after")) as rows:
            async for row in rows:
                if row.get("filename") == _file_name(key):
                    yield checked_name(row.get("id"))

    def _read(self, line: Any, request_of: RequestOf) -> RemoteResult | Unread | None:
        custom_id, answer, error = line["custom_id"], line.get("response"), line.get("error")
        request = request_of(custom_id)
        if request is None:
            return None
        if isinstance(error, Mapping) and error.get("code") in _NOT_DONE:
            return RemoteResult(custom_id, _NOT_DONE[error.get("code")])
        if answer is None:
            failure = failure_from_data({"error": error})
            return self._http.refused(custom_id, failure, request.model)
        status, body = answer["status_code"], answer.get("body")
        if 200 <= status < 300:
            return Unread(custom_id, body, request)
        failure = failure_from_data(body, status=status)
        return self._http.refused(custom_id, failure, request.model)


def _file_name(key: str) -> str:
    return f"orchestify-{key}.jsonl"


def _batch_of(row: Mapping[str, Any]) -> RemoteBatch:
    status, counts = str(row.get("status")), row.get("request_counts")
    files = [row.get("output_file_id"), row.get("error_file_id")]
    return RemoteBatch(
        id=checked_name(row.get("id")),
        status=status,
        has_ended=status in _ENDED,
        total=count_in(counts, "total"),
        succeeded=count_in(counts, "completed"),
        failed=count_in(counts, "failed"),
        created_at=_moment(row.get("created_at")),
        expires_at=_moment(row.get("expires_at")),
        problem=_problem(row.get("errors")),
        results=tuple(checked_name(each) for each in files if each),
    )


def _problem(errors: Any) -> str:
    """Return the codes and lines of what is wrong; messages may hold what was asked."""
    rows = errors.get("data") if isinstance(errors, Mapping) else None
    told = []
    for row in rows or ():
        if isinstance(row, Mapping) and isinstance(code := row.get("code"), str):
            line = row.get("line")
            told.append(f"{code[:60]} (line {line})" if type(line) is int else code[:60])
    return ", ".join(told[:10])


def _moment(seconds: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
