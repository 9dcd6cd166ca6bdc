"""Anthropic's Message Batches over a lane.

Sources, read in November 2026: Anthropic, "Batch processing" (100,000 requests or 256 MB a batch,
24 hours, results in no order and kept for 29 days, what errored, was cancelled or has expired is
not billed) and the reference of `/v1/messages/batches`. A batch has no metadata: one whose id was
lost is known by the custom ids of its results, once there are any.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any

from orchestify.lanes.anthropic.native import BETA_HEADER
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
    joined_headers,
)
from orchestify.lanes.classify import failure_from_data
from orchestify.values import CompletionRequest

BATCHES = "/v1/messages/batches"

_NOT_DONE: Mapping[Any, ResultOutcome] = {"canceled": "cancelled", "expired": "expired"}


class AnthropicBatches:
    """Anthropic's batch API; see `BatchApi`."""

    most_requests = 100_000
    most_bytes = 256_000_000
    one_model = False

    def __init__(self, lane: BatchingLane) -> None:
        self._lane = lane
        self._http = BatchHttp(lane, _batch_of)

    def encoded(self, request: CompletionRequest) -> EncodedRequest:
        """Return a request as a batch takes it."""
        return self._lane.encoded(request)

    async def prepare(
        self,
        key: str,
        lines: Sequence[BatchLine],
        headers: Sequence[Mapping[str, str]],
    ) -> Prepared:
        """Return the body with all requests; nothing is sent."""
        parts = (
            b'{"custom_id":%s,"params":%s}' % (json.dumps(line.custom_id).encode(), line.body)
            for line in lines
        )
        body = b'{"requests":[%s]}' % b",".join(parts)
        return Prepared(body=body, headers=joined_headers(headers, BETA_HEADER))

    async def create(self, key: str, prepared: Prepared) -> RemoteBatch:
        """Send all requests."""
        headers = prepared.headers or None
        return await self._http.batch(
            "POST", BATCHES, body=prepared.body, headers=headers, timeout_s=SEND_S
        )

    async def retrieve(self, batch_id: str) -> RemoteBatch:
        """Return a batch as it stands."""
        return await self._http.batch("GET", f"{BATCHES}/{batch_id}")

    async def cancel(self, batch_id: str) -> RemoteBatch:
        """Ask that no further request be processed; those under way may be done all the same."""
        return await self._http.batch("POST", f"{BATCHES}/{batch_id}/cancel", body=b"{}")

    async def find(
        self, key: str, *, since: datetime, total: int, known: Collection[str]
    ) -> Search:
        """Find the batch whose results have our custom ids; one that runs can only be unsure."""
        unsure = []
        async with aclosing(self._http.pages(BATCHES, "after_id")) as rows:
            async for row in rows:
                batch = _batch_of(row)
                if batch.created_at is not None and batch.created_at < since - CLOCK_SLACK:
                    break
                if batch.id in known or batch.total != total:
                    continue
                if not batch.has_ended:
                    unsure.append(batch.id)
                elif await self._is_of(batch, key):
                    return Search(batch)
        return Search(None, tuple(unsure))

    async def results(
        self, batch: RemoteBatch, request_of: RequestOf
    ) -> AsyncGenerator[RemoteResult | None, None]:
        """Yield what the results have."""

        def read(line: Any) -> RemoteResult | Unread | None:
            return self._read(line, request_of)

        results = self._http.results(_results_path(batch), read)
        async with aclosing(results):
            async for result in results:
                yield result

    async def tidy(self, key: str, file_id: str) -> None:
        """Do nothing: there is no file of the requests."""

    async def _is_of(self, batch: RemoteBatch, key: str) -> bool:
        """Whether the first result has a custom id of ours."""

        def read(line: Any) -> RemoteResult:
            return RemoteResult(str(line["custom_id"]), "ok")

        async with aclosing(self._http.results(_results_path(batch), read)) as results:
            async for result in results:
                if result is not None:
                    return result.custom_id.startswith(f"{key}-")
        return False

    def _read(self, line: Any, request_of: RequestOf) -> RemoteResult | Unread | None:
        custom_id, result = line["custom_id"], line["result"]
        request, kind = request_of(custom_id), result["type"]
        if request is None:
            return None
        if kind in _NOT_DONE:
            return RemoteResult(custom_id, _NOT_DONE[kind])
        if kind == "succeeded":
            return Unread(custom_id, result["message"], request)
        return self._http.refused(custom_id, failure_from_data(result["error"]), request.model)


def _results_path(batch: RemoteBatch) -> str:
    return f"{BATCHES}/{batch.id}/results"


def _batch_of(row: Mapping[str, Any]) -> RemoteBatch:
    counts, status = row.get("request_counts"), str(row.get("processing_status"))
    failed = ("errored", "canceled", "expired")
    return RemoteBatch(
        id=checked_name(row.get("id")),
        status=status,
        has_ended=status == "ended",
        total=count_in(counts, "processing", "succeeded", *failed),
        succeeded=count_in(counts, "succeeded"),
        failed=count_in(counts, *failed),
        created_at=_moment(row.get("created_at")),
        expires_at=_moment(row.get("expires_at")),
    )


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None else None
