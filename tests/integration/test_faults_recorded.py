"""Recorded answers that are cut, stalled, ended early, sent in bits or late, on every lane.

With `-s` it prints its table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import product
from typing import Any

import pytest
import pytest_asyncio

from orchestify import APIConnectionError, InvalidResponseError, StreamInterruptedError
from tests import recorded
from tests.faults import WAYS, Way, lab
from tests.lanes import ANTHROPIC, LANES, LITELLMS_OWN_WARNINGS, OPENAI, RESPONSES
from tests.recorded import Exchange

pytestmark = [pytest.mark.asyncio(loop_scope="module"), *LITELLMS_OWN_WARNINGS]

LANE_OF = dict(zip("AOao", [each for each in LANES if each is not RESPONSES][:4], strict=True))
IDS = {
    ("anthropic", "complete"): "anthropic-messages-json-200-c7e178a479",
    ("anthropic", "stream"): "anthropic-messages-sse-200-0ae9f99e7a",
    ("openai", "complete"): "openai-chat-json-200-f052a9d268",
    ("openai", "stream"): "openai-chat-sse-200-4d6ed832e0",
}
NOTHING = "failed 0+0 unknown"
LOST = ("APIConnectionError, retryable, may be billed", NOTHING)
LATE = ("RequestTimeoutError, retryable, may be billed", NOTHING)
MISSHAPEN = ("InvalidResponseError, retryable, may be billed", NOTHING)
CUT_CLAUDE = (
    'StreamInterruptedError, retryable, may be billed, text \'{"title": "Mistborn: The\'',
    "interrupted estimated",
)
CUT_GPT = (
    "StreamInterruptedError, retryable, may be billed, text 'Hello! How can I'",
    "interrupted estimated",
)
ENDED_GPT = (
    "StreamInterruptedError, retryable, may be billed, text 'Hello! How can I assist you today?'",
    "interrupted estimated",
)
ENDED_CLAUDE = (
    "StreamInterruptedError, retryable, may be billed, text "
    '\'{"title": "Mistborn: The Final Empire", "author": "Brandon Sanderson", "pages": 544, '
    '"publication_year": 2006}\'',
    "interrupted 961+39 reported",
)
HARMLESS = ("", ";chunk=5", ";chunk=97;gap=0.0001", ";gap=0.002", ";ttfb=0.05")

# Options, way, lanes (directly in capitals), and the fate.
TABLE: list[tuple[str, Way, str, tuple[str, str]]] = [
    *((option, "complete", "Aa", ("nothing", "ok 2001+204 reported")) for option in HARMLESS),
    *((option, "complete", "Oo", ("nothing", "ok 2747+267 reported")) for option in HARMLESS),
    *((option, "stream", "Aa", ("nothing", "ok 961+39 reported")) for option in HARMLESS),
    *((option, "stream", "Oo", ("nothing", "ok 11+9 reported")) for option in HARMLESS),
    (";ttfb=5", "complete", "AOao", LATE),
    (";ttfb=5", "stream", "AOao", LATE),
    (";cut=0", "complete", "AOao", LOST),
    (";cut=0", "stream", "AOao", LOST),
    (";cut=0.5", "complete", "AOao", LOST),
    (";cut=0.5", "stream", "Aa", CUT_CLAUDE),
    (";cut=0.5", "stream", "Oo", CUT_GPT),
    (";cut=0.99", "complete", "AOao", LOST),
    (";cut=0.99", "stream", "A", ENDED_CLAUDE),
    (";cut=0.99", "stream", "a", ("nothing", "ok 961+39 reported")),  # its finish word was seen
    (";cut=0.99", "stream", "O", ("nothing", "ok estimated")),  # but not its usage
    (";cut=0.99", "stream", "o", ENDED_GPT),  # LiteLLM keeps the finish word back
    (";eof=0", "complete", "AOao", LATE),  # the length says that more is to come
    (";eof=0", "stream", "AO", MISSHAPEN),
    (";eof=0", "stream", "ao", LOST),
    (";eof=0.5", "complete", "AOao", LATE),
    (";eof=0.5", "stream", "Aa", CUT_CLAUDE),
    (";eof=0.5", "stream", "Oo", CUT_GPT),
    (";stall=0.5", "complete", "AOao", LATE),
    (";stall=0.5", "stream", "Aa", CUT_CLAUDE),
    (";stall=0.5", "stream", "Oo", CUT_GPT),
]
CASES = [
    pytest.param(lane, way, option, fate, id=f"{lane}-{way}-{option or 'whole'}")
    for option, way, lanes, fate in TABLE
    for lane in lanes
]


@pytest.fixture(scope="module")
def printed() -> Iterator[list[str]]:
    """The lines of the table, printed at the end."""
    lines: list[str] = []
    yield lines
    print("\n" + "\n".join(sorted(lines)))  # noqa: T201 - it is what -s asks for


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replay() -> AsyncIterator[tuple[str, Any]]:
    """The address of the server that plays the recordings, and the server."""
    recorded.need_recorded()
    runner, port, replay = await recorded.replay_module().serve(recorded.FOLDER / "interactions")
    yield f"http://127.0.0.1:{port}/i/", replay
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def imported(replay: tuple[str, Any]) -> None:
    async with lab(LANE_OF["o"], replay[0] + IDS["openai", "complete"]) as it:
        await it.ask("complete")


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize(("lane", "way", "option", "fate"), CASES)
async def test_a_recorded_answer_with_a_fault_is_asked_for_once_raised_and_booked(
    replay: tuple[str, Any],
    printed: list[str],
    lane: str,
    way: Way,
    option: str,
    fate: tuple[str, str],
) -> None:
    address, server = replay
    chosen = LANE_OF[lane]
    server.log.clear()
    url = address + IDS[chosen.protocol, way] + option
    timeout_s = 1.5 if fate == LATE else 10
    idle_timeout_s = 0.5 if option.startswith(";stall") else 10  # a busy machine pauses, too
    async with lab(chosen, url, idle_timeout_s=idle_timeout_s) as it:
        seen = await it.ask(way, timeout_s=timeout_s)
    sent = len(server.log)
    printed.append(
        f"{chosen.name:17} {way:8} {option:20} {sent} {seen.raised[:75]:75} {seen.booked}"
    )
    assert (sent, seen.raised, seen.booked) == (1, *fate)


async def test_the_table_is_whole() -> None:
    cells = sorted((option, way, lane) for option, way, lanes, _ in TABLE for lane in lanes)
    options = {option for option, *_ in TABLE}
    assert cells == sorted(product(options, WAYS, LANE_OF))


ENDED_BEFORE_HALF = [  # their finish reason stands in the first half, what follows is an account
    "openai-chat-sse-200-f33802b134",
    "openrouter-chat-sse-200-a9230c696f",
]
CUTS = {StreamInterruptedError, APIConnectionError, InvalidResponseError}
STREAMS = [
    each
    for each in recorded.exchanges()
    if each.is_stream and each.status == 200 and each.kind in {"chat", "messages"}
]


async def test_no_recorded_stream_that_is_cut_in_half_is_taken_for_a_whole_one(
    replay: tuple[str, Any],
) -> None:
    ends = [await end_of(each, f"{replay[0]}{each.id};eof=0.5") for each in STREAMS]
    assert len(STREAMS) > 150
    assert [name for name, end in ends if end not in CUTS] == ENDED_BEFORE_HALF


async def end_of(exchange: Exchange, url: str) -> tuple[str, type[BaseException] | None]:
    """Stream from an address; return how that ended."""
    lane = ANTHROPIC if exchange.kind == "messages" else OPENAI
    async with lab(lane, url) as it:
        seen = await it.ask("stream", timeout_s=10)
    return exchange.id, None if seen.error is None else type(seen.error)
