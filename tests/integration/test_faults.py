"""Every fault on every lane: what is sent, what is raised, what is booked.

With `-s` it prints its table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from importlib import metadata
from itertools import product
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from orchestify import Usage
from orchestify.testing import Reply, StubServer
from tests.faults import WAYS, Lab, Way, lab
from tests.lanes import LANES, LITELLMS_OWN_WARNINGS, RESPONSES, Lane

pytestmark = [pytest.mark.asyncio(loop_scope="module"), *LITELLMS_OWN_WARNINGS]

# Both protocols, directly (capitals) and through LiteLLM (small letters).
LANE_OF: dict[str, Lane] = dict(
    zip("AOao", [each for each in LANES if each is not RESPONSES][:4], strict=True)
)


def said(**fault: Any) -> Reply:
    """A text of three pieces whose usage is known, with a fault."""
    return Reply(text="one two three", usage=Usage(100, 20), **fault)


FAULTS = {
    **{str(status): Reply(status=status) for status in (400, 401, 402, 403, 404, 405, 408, 409)},
    **{str(status): Reply(status=status) for status in (410, 413, 422, 425, 429, 498, 499, 500)},
    **{str(status): Reply(status=status) for status in (501, 502, 503, 504, 520, 524, 529)},
    "502 html": Reply(status=502, garbage=True),
    "context": Reply(error="context_window"),
    "filter": Reply(error="content_filter"),
    "quota": Reply(error="quota"),
    "inline 429": Reply(inline_error=True, status=429),
    "inline 529": Reply(inline_error=True, status=529),
    "reset": Reply(reset=True),
    "slow headers": said(slow_headers_s=0.05),
    "slow chunks": said(chunk_delay_s=0.02),
    "byte by byte": said(writes=1),
    "one write": said(writes="all"),
    "late headers": said(slow_headers_s=30),
    "late body": said(delay_s=30),
    "late chunks": said(chunk_delay_s=30),
    "cut at once": said(cut_after=0),
    "end at once": said(eof_after=0),
    "error at once": said(error_after=0),
    "mute at once": said(stall_after=0),
    "cut": said(cut_after=2),
    "reset inside": said(cut_after=2, reset=True),
    "end": said(eof_after=2),
    "error inside": said(error_after=2),
    "mute": said(stall_after=2),
    "no last mark": said(done=False),
    "no usage": Reply(text="one two three", usage={}),
    "html": Reply(garbage=True),
    "empty": Reply(raw_body=b""),
    "half event": Reply(raw_body=b"data: {\n\n"),
}

LITELLM = tuple(map(int, metadata.version("litellm").split(".")[:2]))

SILENT = {"late headers", "late body", "late chunks", "mute at once", "mute"}
SILENT_S, PATIENT_S = 1.0, 20.0  # a pause of the machine is shorter

NOTHING = "failed 0+0 unknown"
OPENING = "failed 100+1 reported"  # Anthropic tells the input in the stream's first event
WELL = ("nothing", "ok 100+20 reported")
LOST = ("APIConnectionError, retryable, may be billed", NOTHING)
LATE = ("RequestTimeoutError, retryable, may be billed", NOTHING)
MISSHAPEN = ("InvalidResponseError, retryable, may be billed", NOTHING)
UNREADABLE = ("InvalidResponseError, may be billed", NOTHING)  # LiteLLM fails again at the same
CUT = "StreamInterruptedError, retryable, may be billed, text 'one two '"
CUT_BY_500 = "StreamInterruptedError, 500, retryable, may be billed, text 'one two '"


class Row(NamedTuple):
    """What comes of a fault on some lanes, by one way or both."""

    fault: str
    ways: str
    lanes: str
    fate: tuple[str, str]


BOTH, C, S = "complete stream", "complete", "stream"
TABLE = [
    Row("400", BOTH, "AOao", ("InvalidRequestError, 400", NOTHING)),
    Row("401", BOTH, "AOao", ("AuthenticationError, 401", NOTHING)),
    Row("402", BOTH, "AOao", ("PermissionDeniedError, 402", NOTHING)),
    Row("403", BOTH, "AOao", ("PermissionDeniedError, 403", NOTHING)),
    Row("404", BOTH, "AOao", ("ModelNotFoundError, 404", NOTHING)),
    Row("405", BOTH, "AOao", ("ModelNotFoundError, 405", NOTHING)),
    Row("408", BOTH, "AOao", ("RequestTimeoutError, 408, retryable, may be billed", NOTHING)),
    Row("409", BOTH, "AOao", ("ServerError, 409, retryable", NOTHING)),
    Row("410", BOTH, "AOao", ("ModelNotFoundError, 410", NOTHING)),
    Row("413", BOTH, "AOao", ("ContextWindowError, 413", NOTHING)),
    Row("422", BOTH, "AOao", ("InvalidRequestError, 422", NOTHING)),
    Row("425", BOTH, "AOao", ("ServerError, 425, retryable", NOTHING)),
    Row("429", BOTH, "AOao", ("RateLimitError, 429, retryable", NOTHING)),
    Row("498", BOTH, "AOao", ("ServerError, 498, retryable", NOTHING)),
    Row("499", BOTH, "AOao", ("ServerError, 499, retryable", NOTHING)),
    Row("500", BOTH, "AOao", ("ServerError, 500, retryable", NOTHING)),
    Row("501", BOTH, "AOao", ("ServerError, 501, retryable, may be billed", NOTHING)),
    Row("502", BOTH, "AOao", ("ServerError, 502, retryable", NOTHING)),
    Row("502 html", BOTH, "AOao", ("ServerError, 502, retryable", NOTHING)),
    Row("503", BOTH, "AOao", ("ServerError, 503, retryable", NOTHING)),
    Row("504", BOTH, "AOao", ("ServerError, 504, retryable, may be billed", NOTHING)),
    Row("520", BOTH, "AOao", ("ServerError, 520, retryable, may be billed", NOTHING)),
    Row("524", BOTH, "AOao", ("ServerError, 524, retryable, may be billed", NOTHING)),
    Row("529", BOTH, "AOao", ("ServerError, 529, retryable", NOTHING)),
    Row("context", BOTH, "AOao", ("ContextWindowError, 400", NOTHING)),
    Row("filter", BOTH, "AOao", ("ContentFilterError, 400", NOTHING)),
    Row("quota", BOTH, "AOao", ("PermissionDeniedError, 429", NOTHING)),
    Row("inline 429", BOTH, "AOao", ("RateLimitError, 429, retryable", NOTHING)),
    Row("inline 529", BOTH, "AOao", ("ServerError, 529, retryable", NOTHING)),
    Row("reset", BOTH, "AOao", LOST),
    Row("slow headers", BOTH, "AOao", WELL),
    Row("slow chunks", BOTH, "AOao", WELL),
    Row("byte by byte", BOTH, "AOao", WELL),
    Row("one write", BOTH, "AOao", WELL),
    Row("late headers", BOTH, "AOao", LATE),
    Row("late body", BOTH, "AOao", LATE),
    Row("late chunks", C, "AOao", WELL),
    Row("late chunks", S, "Oao", LATE),
    Row("late chunks", S, "A", (LATE[0], OPENING)),
    Row("cut at once", C, "AOao", LOST),
    Row("cut at once", S, "Oao", LOST),
    Row("cut at once", S, "A", (LOST[0], OPENING)),
    Row("end at once", C, "AO", MISSHAPEN),
    Row("end at once", C, "ao", UNREADABLE),
    Row("end at once", S, "Oo", LOST),
    Row("end at once", S, "a", LOST if LITELLM >= (1, 110) else (LOST[0], OPENING)),
    Row("end at once", S, "A", (LOST[0], OPENING)),
    Row("error at once", C, "AOao", ("ServerError, 500, retryable", NOTHING)),
    Row("error at once", S, "Oao", ("ServerError, 500, retryable", NOTHING)),
    Row("error at once", S, "A", ("ServerError, 500, retryable", OPENING)),
    Row("mute at once", C, "AOao", LATE),
    Row("mute at once", S, "Oao", LATE),
    Row("mute at once", S, "A", (LATE[0], OPENING)),
    Row("cut", C, "AOao", LOST),
    Row("cut", S, "AOao", (CUT, "interrupted estimated")),
    Row("reset inside", C, "AOao", LOST),
    Row("reset inside", S, "AOao", (CUT, "interrupted estimated")),
    Row("end", C, "AO", MISSHAPEN),
    Row("end", C, "ao", UNREADABLE),
    Row("end", S, "AOao", (CUT, "interrupted estimated")),
    Row("error inside", C, "AOao", ("ServerError, 500, retryable", NOTHING)),
    Row("error inside", S, "AOao", (CUT_BY_500, "interrupted estimated")),
    Row("mute", C, "AOao", LATE),
    Row("mute", S, "AOao", (CUT, "interrupted estimated")),
    Row("no last mark", C, "AOao", WELL),
    Row("no last mark", S, "Oao", WELL),
    Row("no last mark", S, "A", (CUT.replace("two ", "two three"), "interrupted 100+20 reported")),
    Row("no usage", BOTH, "AOao", ("nothing", "ok estimated")),
    Row("html", C, "AOo", MISSHAPEN),
    Row("html", C, "a", UNREADABLE),
    Row("html", S, "AO", MISSHAPEN),
    Row("html", S, "ao", LOST),
    Row("empty", C, "AO", MISSHAPEN),
    Row("empty", C, "ao", UNREADABLE),
    Row("empty", S, "AO", MISSHAPEN),
    Row("empty", S, "ao", LOST),
    Row("half event", C, "AO", MISSHAPEN),
    Row("half event", C, "ao", UNREADABLE),
    Row("half event", S, "AO", MISSHAPEN),
    Row("half event", S, "a", LOST),
    Row("half event", S, "o", UNREADABLE),
]
CASES = [
    pytest.param(lane, way, row.fault, row.fate, id=f"{lane}-{way}-{row.fault}")
    for row in TABLE
    for way, lane in product(row.ways.split(), row.lanes)
]


@pytest.fixture(scope="module")
def printed() -> Iterator[list[str]]:
    """The lines of the table, printed at the end."""
    lines: list[str] = []
    yield lines
    print("\n" + "\n".join(sorted(lines)))  # noqa: T201 - it is what -s asks for


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def labs(server: StubServer) -> AsyncIterator[dict[str, Lab]]:
    async with AsyncExitStack() as stack:
        labs = {
            name: await stack.enter_async_context(
                lab(lane, lane.base_url(server), idle_timeout_s=SILENT_S / 2)
            )
            for name, lane in LANE_OF.items()
        }
        for it in labs.values():
            await it.ask("complete")  # LiteLLM is imported, its clients are made
            await it.ask("stream")
        yield labs


@pytest.mark.parametrize(("lane", "way", "fault", "fate"), CASES)
async def test_a_fault_is_sent_once_raised_and_booked_as_the_table_says(
    server: StubServer,
    labs: dict[str, Lab],
    printed: list[str],
    lane: str,
    way: Way,
    fault: str,
    fate: tuple[str, str],
) -> None:
    before = server.account.received
    server.script(FAULTS[fault])
    seen = await labs[lane].ask(way, timeout_s=SILENT_S if fault in SILENT else PATIENT_S)
    await server.wait_idle()
    sent = server.account.received - before
    name = LANE_OF[lane].name
    printed.append(f"{name:17} {way:8} {fault:14} {sent}  {seen.raised:68} {seen.booked}")
    assert (sent, seen.raised, seen.booked) == (1, *fate)


async def test_the_table_is_whole() -> None:
    cells = sorted(
        (row.fault, way, lane) for row in TABLE for way in row.ways.split() for lane in row.lanes
    )
    assert cells == sorted(product(FAULTS, WAYS, LANE_OF))
