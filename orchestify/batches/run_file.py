"""A file of requests, asked by our own calls: what has ended is in the answers' file at once.

    check       the whole file of requests: what cannot be asked is told before anything is sent
    open        the answers of earlier runs; what may have been sent and has none is settled
    ask         the rest, each of them: journal, `complete`, answer

A failure that is not the request's own (no room in a budget, a wrong key, an open circuit) is held
back until one that was asked later is answered. Where as many are held back as may be under way,
and at least 5, the run stops, and they stay open.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from orchestify.batches.answer_file import AnswerFile, Files, State, Tally, Usage
from orchestify.batches.answers import answer_of, may_be_billed
from orchestify.batches.many import CONCURRENCY, BatchResult, Complete, map_requests
from orchestify.batches.request_file import RequestFile
from orchestify.batches.requests import BatchRequest
from orchestify.calls.messages import messages_of
from orchestify.errors import (
    AllTargetsFailedError,
    AuthenticationError,
    BatchFileError,
    BudgetExceededError,
    CircuitOpenError,
    LedgerError,
    ModelNotFoundError,
    OrchestifyError,
    PermissionDeniedError,
)
from orchestify.values import LLMMessage

_LEAST_HELD = 5
_CONCERN_ALL = (
    AuthenticationError,
    PermissionDeniedError,
    ModelNotFoundError,
    BudgetExceededError,
    CircuitOpenError,
    LedgerError,
)


@dataclass(frozen=True, slots=True)
class FileRunOptions:
    """How a file is asked.

    `model` replaces that of every request, `system` stands before each one's messages. What has
    failed, or may have been sent by a run that was killed, is asked again where it is said.
    """

    concurrency: int = CONCURRENCY
    model: str | None = None
    system: str | None = None
    retry_failed: bool = False
    retry_unknown: bool = False


class FileRun:
    """One run over a file of requests; `tally` is that of all runs so far.

    `stopped_by` is the error that ended it early, None where there was none; `has_stopped` says
    that no more requests are taken.
    """

    def __init__(
        self,
        requests: Path,
        answers: Path,
        agent: str,
        options: FileRunOptions,
        files: Files = os,
    ) -> None:
        """Take the files' names; `agent` is who is asked, as the answers tell it again."""
        self.stopped_by: OrchestifyError | None = None
        self._options = options
        self._requests = RequestFile(requests, json.dumps([agent, options.model, options.system]))
        self._answers_path = answers
        self._files = files
        self.has_stopped = False
        self._places: dict[int, int] = {}  # of what is under way, by its number in this run
        self._taken = 0
        self._held: list[_Held] = []
        self._late: list[tuple[int, BatchResult]] = []  # answers that could not be written

    @property
    def tally(self) -> Tally:
        """What became of the requests so far."""
        return self._answers.tally

    @property
    def under_way(self) -> int:
        """How many requests are being asked."""
        return len(self._places)

    def open(self) -> None:
        """Check the requests, and read the answers of earlier runs.

        Raises:
            BatchFileError: a file cannot be used, or they are not each other's; nothing was sent.
        """
        self._requests.check()
        self._answers = AnswerFile(self._answers_path, self._requests.digests, self._files)
        self._answers.open()
        try:
            self._answers.settle(self._requests.names(self._answers.unsettled))
            if self._options.retry_failed:
                self._answers.forget(State.FAILED)
            if self._options.retry_unknown:
                self._answers.forget(State.UNKNOWN)
        except BaseException:
            self._answers.close()
            raise

    async def ask(self, complete: Complete) -> None:
        """Ask what is open, and close the files, whatever happens.

        Raises:
            BatchFileError: the files cannot be read or written any more.
        """
        try:
            results = map_requests(
                complete, self._requests_to_ask(), self._options.concurrency, {}, ordered=False
            )
            try:
                async with aclosing(results):
                    async for result in results:
                        self._keep(result.index, result)
            except BatchFileError:  # of the requests or the journal; what was under way has come
                self._end()
                raise
            self._end()
        finally:
            self._answers.close()

    def close(self) -> None:
        """Let the files go, where `ask` has not."""
        self._answers.close()

    def stop(self) -> None:
        """Take no more requests; those under way are waited for."""
        self.has_stopped = True

    def _requests_to_ask(self) -> Iterator[BatchRequest]:
        """Yield what is open; each is in the journal when it is yielded."""
        for index, request in self._requests.requests(self._answers.states):
            if self.has_stopped:
                return
            self._answers.begin(index)
            self._places[self._taken] = index
            self._taken += 1
            yield self._filled(request)

    def _filled(self, request: BatchRequest) -> BatchRequest:
        if self._options.model is None and self._options.system is None:
            return request
        arguments = dict(request.arguments)
        if self._options.model is not None:
            arguments["model"] = self._options.model
        if self._options.system is not None:
            system = LLMMessage("system", self._options.system)
            arguments["messages"] = (system, *messages_of(arguments["messages"]))
        return replace(request, arguments=arguments)

    def _keep(self, number: int, result: BatchResult) -> None:
        """Write a result, or hold it back."""
        index = self._places.pop(number)
        if result.error is not None and _concerns_all(result.error):
            self._held.append(_Held(index, result, self._taken))
            if len(self._held) >= max(self._options.concurrency, _LEAST_HELD):
                self.stop()
            return
        if result.response is not None:
            held, self._held = self._held, []
            for each in held:
                if each.taken > number:
                    self._held.append(each)
                else:
                    self._write(each.index, each.result)
        self._write(index, result)

    def _write(self, index: int, result: BatchResult) -> None:
        try:
            self._answers.add(index, answer_of(result), *_state_of(result))
        except BatchFileError as error:
            self._late.append((index, result))
            self.stopped_by = error
            self.stop()

    def _end(self) -> None:
        """Leave open what was held back, and write what could not be written, once more."""
        for held in self._held:
            self.stopped_by = self.stopped_by or held.result.error
            self._answers.take_back(held.index)
        late, self._late = self._late, []
        for index, result in late:
            self._write(index, result)
        if self._late:
            raise BatchFileError(
                f"{self.stopped_by}; {len(self._late)} answers that may have been paid for are "
                "lost, and their requests are told as unknown by the next run"
            )


@dataclass(frozen=True, slots=True)
class _Held:
    """A failure that is held back, and how many requests had been taken when it came."""

    index: int
    result: BatchResult
    taken: int


def _concerns_all(error: OrchestifyError) -> bool:
    """Whether an error is not the request's own, and costs nothing."""
    if isinstance(error, AllTargetsFailedError):
        each_does = all(isinstance(each, _CONCERN_ALL) for each in error.errors)
    else:
        each_does = isinstance(error, _CONCERN_ALL)
    return each_does and not may_be_billed(error)


def _state_of(result: BatchResult) -> tuple[State, Usage | None]:
    response = result.response
    if response is None:
        return State.FAILED, None
    cost = None if response.cost_usd is None else float(response.cost_usd)
    return State.ANSWERED, Usage(response.usage.input_tokens, response.usage.output_tokens, cost)
