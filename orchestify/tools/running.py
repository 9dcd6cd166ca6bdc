"""The calls of one answer: at most 8 at once, each within its time, errors told to the model."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from pydantic_core import to_json

from orchestify.ledger.record import Scope, in_scope
from orchestify.resources.thread_pools import ThreadPools
from orchestify.tools.functions import FunctionTool, UnfitArgumentsError
from orchestify.tools.results import ToolOutcome, ToolResult
from orchestify.values import Content, ImagePart, TextPart, ToolCall

MOST_AT_ONCE = 8
MOST_BYTES = 100_000  # of one result, as UTF-8
_NO_NUMBER = re.compile(rb"NaN|Infinity")
ENDING_S = 1.0  # what a cancelled function has to end; then it is left to itself

_log = logging.getLogger("orchestify.tools")


class Told(NamedTuple):
    """What the model is told of a call, and how it went."""

    content: Content
    outcome: ToolOutcome = "ok"
    exception: BaseException | None = None


@dataclass(slots=True)
class ToolRunner:
    """Runs one run's tools; functions that are no coroutines run in threads.

    The functions have the run's `scope`. A thread cannot be ended: a function that hangs in one is
    left there, and its result dropped.
    """

    functions: Mapping[str, FunctionTool]
    timeout_s: float
    scope: Scope
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))
    _threads: ThreadPools = field(default_factory=lambda: ThreadPools(MOST_AT_ONCE, "tool"))

    async def results(self, calls: Sequence[ToolCall]) -> AsyncGenerator[ToolResult, None]:
        """Run calls and yield their results as they come; closing it ends those that still run."""
        with in_scope(self.scope):
            pending = {asyncio.create_task(self._result(call)) for call in calls}
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            await _end(pending)

    async def _result(self, call: ToolCall) -> ToolResult:
        async with self._places:
            started = time.monotonic()
            told = await self._told(call)
            return ToolResult(call, *told, latency_s=time.monotonic() - started)

    async def _told(self, call: ToolCall) -> Told:
        function = self.functions.get(call.name)
        if function is None:
            known = ", ".join(self.functions) or "none"
            return Told(f"error: there is no such tool; there are: {known}", "unknown_tool")
        if not call.valid:
            return Told("error: the arguments are no JSON object", "invalid_arguments")
        try:
            prepared = function.call(call.arguments)
        except UnfitArgumentsError as error:
            return Told(f"error: the arguments do not fit: {error}", "invalid_arguments")
        task = asyncio.create_task(self._called(function, prepared))
        try:
            await asyncio.wait({task}, timeout=self.timeout_s)
        finally:
            is_late = not task.done()
            await _end({task})
        if is_late:
            _log.warning("tool %s gave no result in %g s", call.name, self.timeout_s)
            return Told(f"error: no result within {self.timeout_s:g} s", "timed_out")
        if task.cancelled():
            return _raised(call.name, asyncio.CancelledError())
        return task.result()

    async def _called(self, function: FunctionTool, prepared: Callable[[], Any]) -> Told:
        if function.is_async:
            return await _awaited(function.name, prepared())
        run = contextvars.copy_context().run
        here = partial(_called_here, function.name, prepared)
        said: Any = await self._threads.run("", run, here)
        return said if isinstance(said, Told) else await _awaited(function.name, said)


def not_run(call: ToolCall) -> ToolResult:
    """Return what a model is told of a call in an answer that was cut: it may be cut itself."""
    content = "error: the answer was cut at its length before this call could be run; write less"
    return ToolResult(call, content, "not_run")


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for their end, but not for ever."""
    running = {task for task in tasks if task.cancel()}
    if running:
        await asyncio.wait(running, timeout=ENDING_S)


async def _awaited(name: str, coming: Any) -> Told:
    try:
        return _result_of(name, await coming)
    except (Exception, SystemExit) as error:
        return _raised(name, error)


def _called_here(name: str, prepared: Callable[[], Any]) -> Any:
    """Call a function in this thread; return what is told, or what has yet to be awaited."""
    try:
        value = prepared()
        return value if inspect.isawaitable(value) else _result_of(name, value)
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # no signal comes to this thread
        return _raised(name, error)


def _raised(name: str, error: BaseException) -> Told:
    kind = type(error).__name__
    _log.warning("tool %s raised %s", name, kind)
    return Told(f"error: {name} raised {kind}", "raised", error)


def _result_of(name: str, value: Any) -> Told:
    """Return a function's result for the model: text and images as they are, all else as JSON."""
    parts = [value] if isinstance(value, (TextPart, ImagePart)) else value
    if isinstance(parts, (list, tuple)) and parts and all(map(_is_part, parts)):
        return Told(_cut_parts(parts))
    if isinstance(value, str):
        return Told(_cut(value))
    try:
        return Told(_cut(_json(value).decode()))
    except (ValueError, RecursionError) as error:
        kind = type(value).__name__
        _log.warning("tool %s returned a %s that is no JSON", name, kind)
        return Told(f"error: {name} returned a {kind} that is no JSON", "unusable_result", error)


def _json(value: Any) -> bytes:
    """Return a value as JSON, which has neither NaN nor Infinity. Raises ValueError."""
    written = to_json(value)
    if _NO_NUMBER.search(written) and written != to_json(value, inf_nan_mode="null"):
        raise ValueError("NaN or Infinity")
    return written


def _cut(text: str, most: int = MOST_BYTES) -> str:
    """Return a text of `most` bytes at most, and behind it a mark where it was longer."""
    head = text[: most + 1].encode("utf-8", "replace")
    if len(head) <= most:
        return head.decode()
    kept = head[:most].decode("utf-8", "ignore")
    return f"{kept}\n[cut: the first {most:,} bytes of {len(text):,} characters]"


def _cut_parts(parts: Sequence[TextPart | ImagePart]) -> tuple[TextPart | ImagePart, ...]:
    """Cut the texts among parts to what one result may have together."""
    left, kept = MOST_BYTES, list[TextPart | ImagePart]()
    for each in parts:
        if isinstance(each, ImagePart):
            kept.append(each)
            continue
        kept.append(replace(each, text=_cut(each.text, left)))
        left = max(left - len(each.text), 0)
    return tuple(kept)


def _is_part(value: object) -> bool:
    return isinstance(value, (TextPart, ImagePart))
