"""A lane before which a recording stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from orchestify.lanes.lane import Lane
from orchestify.testing.recordings import answers
from orchestify.testing.recordings.plain import Plain
from orchestify.testing.recordings.recording import Recordings
from orchestify.testing.recordings.requests import Ask
from orchestify.values import (
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    LLMResponse,
    StreamEnd,
    StreamEvent,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class RecordedLane:
    """Answers from a recording, and else asks the lane behind it and records what comes.

    The pieces of a stream come as they were, without the time between them. Where a file answers,
    the lane behind is asked for nothing. See `orchestify.lanes.lane.Lane`.

    Raises, besides what the lane does:
        RecordingError: the request is not recorded, or the file cannot be used.
    """

    recordings: Recordings
    provider_id: str
    lane: Lane

    async def send(self, request: CompletionRequest) -> LLMResponse:
        """Return the recorded answer, or the lane's."""

        def form(response: LLMResponse) -> Plain:
            return answers.answer_form(response, with_raw=request.native is not None)

        return await self._whole(
            "complete", request, lambda: self.lane.send(request), form, answers.answer_of
        )

    async def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        """Yield the recorded events, or the lane's."""
        if self.recordings.replays:
            found = self.recordings.find("stream", self.provider_id, request)
            for piece in found.pieces():
                await asyncio.sleep(0)
                yield piece
            yield StreamEnd(await found.answer(answers.answer_of))
            return
        with self.recordings.begin("stream", self.provider_id, request) as slot:
            async with aclosing(self.lane.open_stream(request)) as events:
                async for event in events:
                    if isinstance(event, StreamEnd):
                        with_raw = request.native is not None
                        slot.answered(answers.answer_form(event.response, with_raw=with_raw))
                    else:
                        slot.add(event)
                    yield event

    def wire_form(self, request: CompletionRequest, *, stream: bool) -> bytes | None:
        """Return what decides the answer to a request, as the lane says."""
        return self.lane.wire_form(request, stream=stream)

    async def embed_inputs(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Return the recorded vectors, or the lane's."""
        return await self._whole(
            "embed",
            request,
            lambda: self.lane.embed_inputs(request),
            answers.vectors_form,
            answers.vectors_of,
        )

    async def list_models(self) -> list[str] | None:
        """Return the recorded list, or the lane's."""
        return await self._whole("models", None, self.lane.list_models, _same, _same)

    async def count_input(self, request: CompletionRequest) -> int | None:
        """Return the recorded count, or the lane's."""
        return await self._whole(
            "count", request, lambda: self.lane.count_input(request), _same, _same
        )

    async def aclose(self) -> None:
        """Close the lane."""
        await self.lane.aclose()

    async def _whole(
        self,
        ask: Ask,
        request: CompletionRequest | None,
        send: Callable[[], Awaitable[T]],
        form_of: Callable[[T], Plain],
        read: Callable[[Plain], T],
    ) -> T:
        if self.recordings.replays:
            found = self.recordings.find(ask, self.provider_id, request)
            await asyncio.sleep(0)
            return await found.answer(read)
        with self.recordings.begin(ask, self.provider_id, request) as slot:
            answer = await send()
            slot.answered(form_of(answer))
        return answer


def _same(value: Plain) -> Plain:
    return value
