"""Calls at random against the stub server, and what each of them must leave in the ledger.

Three accounts are held against each other: the server's, of what it received and answered; the
caller's, of what it got or gave up; and the ledger's.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random
from typing import Any, Literal, NamedTuple, TypeAlias

from orchestify import LLMProvider, LLMResponse, ProviderRegistry, scope
from orchestify.calls.stream import CompletionStream
from orchestify.core.config import Config, parse_config
from orchestify.errors import AllTargetsFailedError, APIError
from orchestify.ledger.record import Record
from orchestify.testing import Reply, StubRequest, StubServer
from orchestify.values import ToolCall, Usage

AT_ONCE = 64
LITELLM = ("lite", "clite")
PRICE = {"input_usd_per_mtok": 3, "output_usd_per_mtok": 15}
WEATHER: dict[str, Any] = {"name": "get_weather", "input_schema": {"type": "object"}}

Fate: TypeAlias = tuple[str, str]
"""A record's outcome and its error."""

OK: Fate = ("ok", "")
LEFT: Fate = ("cancelled", "")
CUT: Fate = ("interrupted", "StreamInterruptedError")


def failed(error: str) -> Fate:
    """The fate of an attempt that brought nothing but an error."""
    return ("failed", error)


class Kind(NamedTuple):
    """What the server does, and what becomes of a whole answer and of a stream by that.

    `litellm_stream` is what becomes of a stream through LiteLLM, where that is another thing: a
    body that is no event stream is to it one without events.
    """

    reply: Reply
    whole: Fate
    stream: Fate
    litellm_stream: Fate | None = None


def _refused(error: str, /, **reply: Any) -> Kind:
    return Kind(Reply(**reply), failed(error), failed(error))


NOTHING = failed("APIConnectionError")
KINDS: Mapping[str, Kind] = {
    "answer": Kind(Reply(), OK, OK),
    "long": Kind(Reply(words=60), OK, OK),
    "slow": Kind(Reply(words=12, slow_headers_s=0.01, chunk_delay_s=0.003), OK, OK),
    "late": Kind(Reply(delay_s=0.03), OK, OK),
    "odd writes": Kind(Reply(words=20, writes=7), OK, OK),
    "tools": Kind(Reply(tool_calls=(ToolCall("", "get_weather"),)), OK, OK),
    "no usage": Kind(Reply(words=9, usage={}), OK, OK),
    "400": _refused("InvalidRequestError", status=400),
    "401": _refused("AuthenticationError", status=401),
    "402": _refused("PermissionDeniedError", status=402),
    "403": _refused("PermissionDeniedError", status=403),
    "404": _refused("ModelNotFoundError", status=404),
    "408": _refused("RequestTimeoutError", status=408),
    "409": _refused("ServerError", status=409),
    "413": _refused("ContextWindowError", status=413),
    "422": _refused("InvalidRequestError", status=422),
    "429": _refused("RateLimitError", status=429, retry_after="0"),
    "500": _refused("ServerError", status=500),
    "503": _refused("ServerError", status=503),
    "529": _refused("ServerError", status=529),
    "context": _refused("ContextWindowError", error="context_window"),
    "filter": _refused("ContentFilterError", error="content_filter"),
    "quota": _refused("PermissionDeniedError", error="quota"),
    "inline": _refused("ServerError", inline_error=True)._replace(litellm_stream=NOTHING),
    "reset": _refused("APIConnectionError", reset=True),
    "garbage": _refused("InvalidResponseError", garbage=True)._replace(litellm_stream=NOTHING),
    "cut": Kind(Reply(words=20, cut_after=5), failed("APIConnectionError"), CUT),
    "cut at once": _refused("APIConnectionError", cut_after=0),
    "reset inside": Kind(
        Reply(words=9, cut_after=3, reset=True), failed("APIConnectionError"), CUT
    ),
    "eof": Kind(Reply(words=20, eof_after=7), failed("InvalidResponseError"), CUT),
    "eof at once": Kind(
        Reply(eof_after=0), failed("InvalidResponseError"), failed("APIConnectionError")
    ),
    "error inside": Kind(Reply(words=9, error_after=4), failed("ServerError"), CUT),
    "error at once": _refused("ServerError", error_after=0),
}
SILENT = Kind(Reply(words=9, stall_after=2), failed("RequestTimeoutError"), CUT)
STUCK = _refused("RequestTimeoutError", slow_headers_s=60.0)
STALLED = _refused("RequestTimeoutError", stall_after=0)

Way: TypeAlias = Literal["complete", "read", "close", "drop", "sync", "unread"]


@dataclass(frozen=True)
class Plan:
    """One call: by whom, how, and when its caller has enough, in seconds or in pieces."""

    number: int
    agent: str
    way: Way
    cancel_s: float | None = None
    pieces: int = 0
    is_hurried: bool = False
    has_tool: bool = False


@dataclass(frozen=True)
class Ending:
    """What the caller saw: an answer, an error by its class, or neither."""

    response: LLMResponse | None = None
    error: str = ""
    attempts: int | None = None


class Booked(NamedTuple):
    """What a ledger says of one attempt."""

    call: int
    attempt: int
    provider: str
    fate: Fate
    usage: Usage
    cost_usd: Decimal | None
    cost_source: str
    call_id: str


@dataclass
class Director:
    """Chooses what the server does with each request, by the number in its prompt."""

    seed: int
    plans: Sequence[Plan]
    told: dict[int, list[tuple[StubRequest, Kind]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def __call__(self, request: StubRequest) -> Reply:
        """Return the reply, and remember it for the account."""
        found = re.search(rb"call (\d+)", request.raw_body)
        assert found is not None
        number = int(found[1])
        told = self.told[number]
        chance = Random(f"{self.seed}-{number}-{len(told)}")  # noqa: S311  (no secrets)
        kind = self._kind(self.plans[number], request, chance)
        told.append((request, kind))
        return kind.reply

    def _kind(self, plan: Plan, request: StubRequest, chance: Random) -> Kind:
        if plan.is_hurried:
            return chance.choice([STUCK, STALLED])
        if request.stream and chance.random() < 0.03:
            return SILENT
        # half of the requests are answered
        names = list(KINDS)
        name = chance.choice(names[:7] if chance.random() < 0.5 else names[7:])
        kind = KINDS[name]
        if kind.reply.is_failure or kind.reply.usage is not None:
            return kind
        return kind._replace(reply=replace(kind.reply, **_counts(request, chance)))


def _counts(request: StubRequest, chance: Random) -> dict[str, Any]:
    read, written, reasoning = (chance.choice([0, chance.randrange(500)]) for _ in range(3))
    plain, output = chance.randrange(1, 2000), chance.randrange(1, 900)
    usage = Usage(
        plain + read + written,
        output + reasoning,
        cache_read=read,
        cache_write=written,
        reasoning=reasoning,
    )
    if "messages" in request.path or chance.random() < 0.8:
        return {"usage": usage}
    return {"usage": usage, "cost_usd": chance.randrange(1, 10**6) / 1e8}


def plans(count: int, seed: int) -> list[Plan]:
    """The calls, in order."""
    chance = Random(seed)  # noqa: S311  (no secrets)
    return [_plan(number, chance) for number in range(count)]


def _plan(number: int, chance: Random) -> Plan:
    agents = ["claude", "gpt", "chain", *LITELLM]
    ways: list[Way] = ["complete", "read", "close", "drop", "sync", "unread"]
    way = chance.choices(ways, [38, 38, 9, 9, 4, 2])[0]
    agent = chance.choices(agents, [40, 40, 15, 3, 2])[0]
    if way == "sync" and agent in LITELLM:
        way = "complete"  # nobody would close LiteLLM's clients in the thread's loop
    is_hurried = chance.random() < 0.03
    return Plan(
        number,
        agent=agent,
        way=way,
        cancel_s=chance.uniform(0, 0.06) if way != "sync" and chance.random() < 0.15 else None,
        pieces=chance.randrange(1, 9),
        is_hurried=is_hurried,
        has_tool=chance.random() < 0.1,
    )


def configuration(server: StubServer, ledger: str | None) -> Config:
    """Four providers with a price, five agents, three attempts without much of a wait."""
    common = {"api_key": "key-of-the-tests-0123456789", "price": PRICE, "idle_timeout_s": 4.0}
    claude = {"type": "anthropic", "default_model": "c", "base_url": server.anthropic_url} | common
    gpt = {"type": "openai", "default_model": "g", "base_url": server.openai_url} | common
    written = {
        "providers": {
            "claude": claude,
            "gpt": gpt,
            "lite": gpt | {"type": "litellm", "default_model": "openai/gpt-4o"},
            "clite": claude | {"engine": "litellm", "default_model": "claude-sonnet-4-5"},
        },
        "agents": {name: {"provider": name} for name in ("claude", "gpt", "lite", "clite")}
        | {"chain": {"provider": "gpt", "fallback": ["claude"]}},
        "retry": {"max_attempts": 3, "first_delay_s": 0.001, "max_delay_s": 0.002},
        "circuit_breaker": {"failures": 10**6},
        "ledger": {"url": ledger},
    }
    return parse_config(json.dumps(written))


async def play(registry: ProviderRegistry, todo: Sequence[Plan]) -> dict[int, Ending]:
    """Make all calls, 64 at once, and return how each ended for its caller."""
    endings: dict[int, Ending] = {}
    waiting = iter(todo)

    async def work() -> None:
        for plan in waiting:
            endings[plan.number] = await _ending(registry, plan)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return endings


async def _ending(registry: ProviderRegistry, plan: Plan) -> Ending:
    # a label keeps 1,000 values
    with scope(call=plan.number, group=plan.number % 7):
        task = asyncio.create_task(_call(registry.get_for_agent(plan.agent), plan))
    if plan.cancel_s is not None:
        asyncio.get_running_loop().call_later(plan.cancel_s, task.cancel)
    try:
        response = await task
    except asyncio.CancelledError:
        return Ending()
    except AllTargetsFailedError as error:
        return Ending(error=type(error.errors[-1]).__name__)
    except APIError as error:
        return Ending(error=type(error).__name__)
    return Ending(response=response)


async def _call(provider: LLMProvider, plan: Plan) -> LLMResponse | None:
    given: dict[str, Any] = {"timeout_s": 0.3 if plan.is_hurried else 60.0}
    if plan.has_tool:
        given["tools"] = [WEATHER]
    prompt = f"call {plan.number}"
    if plan.way == "complete":
        return await provider.complete(prompt, **given)
    if plan.way == "sync":
        return await asyncio.to_thread(provider.complete_sync, prompt, **given)
    stream = provider.stream(prompt, **given)
    if plan.way == "read":
        async for _ in stream:
            pass
        return stream.response
    if plan.way == "close":
        async with aclosing(stream):
            return await _some_of(stream, plan.pieces)
    return await _some_of(stream, plan.pieces) if plan.way == "drop" else None


async def _some_of(stream: CompletionStream, pieces: int) -> LLMResponse | None:
    """Read so many pieces of text; return the answer where it ended before."""
    async for _ in stream:
        pieces -= 1
        if not pieces:
            return None
    return stream.response


def booked(record: Record) -> Booked:
    """What a record says."""
    return Booked(
        int(record.labels["call"]),
        record.attempt,
        record.provider,
        (record.outcome, record.error),
        record.usage,
        record.cost_usd,
        record.cost_source,
        record.call_id,
    )


ROWS = """SELECT labels, attempt, provider, outcome, error, input_tokens, output_tokens,
cache_read, cache_write, cache_write_1h, reasoning, searches, service_tier, usage_source,
cost_picousd, cost_source, call_id FROM usage_records"""


def booked_rows(rows: Iterable[tuple[Any, ...]]) -> list[Booked]:
    """What the rows of `ROWS` say."""
    return [_booked_row(row) for row in rows]


def _booked_row(row: tuple[Any, ...]) -> Booked:
    labels, attempt, provider, outcome, error, *counts, source, pico, cost_source, call_id = row
    labels = json.loads(labels) if isinstance(labels, str) else labels
    return Booked(
        int(labels["call"]),
        attempt,
        provider,
        (outcome, error),
        Usage(*counts, source=source),
        None if pico is None else Decimal(pico).scaleb(-12),
        cost_source,
        call_id,
    )


def disagreements(
    records: Sequence[Booked], director: Director, endings: Mapping[int, Ending]
) -> list[str]:
    """Where the ledger says other than the server, or than the caller."""
    by_call: dict[int, list[Booked]] = defaultdict(list)
    for record in sorted(records):
        by_call[record.call].append(record)
    found: list[str] = []
    for plan in director.plans:
        told, own = director.told.get(plan.number, []), by_call.pop(plan.number, [])
        fates = [each.fate for each in own]
        found += [
            f"{plan}, {fates}: {each}"
            for each in _of_call(own, told, endings[plan.number], may_skip=plan.agent == "chain")
        ]
    return found + [f"records of no call: {by_call}"] * bool(by_call)


def _of_call(
    own: list[Booked],
    told: list[tuple[StubRequest, Kind]],
    ending: Ending,
    *,
    may_skip: bool,
) -> Iterator[str]:
    yield from _of_numbers([each.attempt for each in own], ending, may_skip=may_skip)
    if len({each.call_id for each in own}) > 1:
        yield "several call ids"
    unsent = own[len(told) :]
    if len(told) > len(own):
        yield f"{len(told)} requests, {len(own)} records"
    if unsent and (len(unsent) > 1 or unsent[0].fate not in (LEFT, STUCK.whole)):
        yield f"{len(unsent)} records without a request: {unsent}"
    gave_up = ending.response is None and not ending.error
    for position, (record, (request, kind)) in enumerate(zip(own, told, strict=False)):
        allowed = {_fate(kind, record, request)}
        if gave_up and position == len(own) - 1:
            allowed.add(LEFT)
        if record.fate not in allowed:
            yield f"{record.fate} of {kind.reply}, {request.outcome}"
        yield from _of_usage(record, request)
    yield from _of_ending(own, ending, was_sent=not unsent)


def _of_numbers(found: list[int], ending: Ending, *, may_skip: bool) -> Iterator[str]:
    """A target that another call's 429 rests is passed over: a number without a record."""
    if ending.response is not None:
        tried = enumerate(ending.response.attempts, 1)
        wanted = [number for number, each in tried if each.outcome != "skipped"]
    else:
        wanted = sorted(set(found)) if may_skip else list(range(1, len(found) + 1))
    if found != wanted or max(found, default=0) > len(found) + may_skip:
        yield f"attempts {found}"


def _fate(kind: Kind, record: Booked, request: StubRequest) -> Fate:
    if not request.stream:
        return kind.whole
    return (record.provider in LITELLM and kind.litellm_stream) or kind.stream


def _of_usage(record: Booked, request: StubRequest) -> Iterator[str]:
    usage, told = record.usage, request.reported
    if record.fate == OK and (usage.source == "reported") != (told is not None):
        yield f"usage is {usage.source}, the server reported {told}"
    if usage.source != "reported":
        return
    if told is None or usage.input_tokens != told.input_tokens:
        yield f"{usage} is called reported, the server reported {told}"
    elif record.fate == OK and replace(usage, service_tier=None) != told:
        yield f"{usage}, the server reported {told}"
    elif usage.output_tokens > told.output_tokens:
        yield f"{usage}, the server reported no more than {told}"


def _of_ending(own: list[Booked], ending: Ending, *, was_sent: bool) -> Iterator[str]:
    # time that runs out while the record is opened books it as left: see Ledger.open
    ran_out = not was_sent and ending.error == "RequestTimeoutError" and own[-1].fate == LEFT
    if ending.error and not ran_out and (not own or own[-1].fate[1] != ending.error):
        yield f"the caller got {ending.error}"
    response = ending.response
    if response is None:
        return
    last, usage = own[-1], response.usage
    sent = [each.outcome for each in response.attempts if each.outcome != "skipped"]
    if sent != [each.fate[0] for each in own]:
        yield f"the answer tells of {response.attempts}"
    if usage != last.usage:
        yield f"the caller was told {usage}, booked is {last.usage}"
    if (response.cost_usd, response.cost_source) != (last.cost_usd, last.cost_source):
        yield f"the caller was told {response.cost_usd}, booked is {last.cost_usd}"
    if response.call_id != last.call_id or response.provider != last.provider:
        yield "the caller was told another id or provider"


def wrong_costs(records: Iterable[Booked]) -> list[Booked]:
    """Records whose cost is not the price times their tokens, nor the server's own figure."""
    return [each for each in records if each.cost_usd != _cost_usd(each)]


def _cost_usd(record: Booked) -> Decimal | None:
    if record.cost_source == "provider":
        return record.cost_usd
    if record.usage.source == "unknown":
        return None
    used = record.usage
    return (3 * Decimal(used.input_tokens) + 15 * Decimal(used.output_tokens)) / 10**6


class Sums(NamedTuple):
    """What is summed over records."""

    attempts: int
    calls: int
    failed: int
    cancelled: int
    interrupted: int
    estimated: int
    input_tokens: int
    output_tokens: int
    cache_read: int
    cache_write: int
    reasoning: int
    cost_usd: Decimal


def summed(records: Iterable[Booked]) -> Sums:
    """The sums, added one by one."""
    kept = list(records)
    outcomes = Counter(each.fate[0] for each in kept)
    used = [each.usage for each in kept]
    return Sums(
        len(kept),
        outcomes["ok"],
        outcomes["failed"],
        outcomes["cancelled"],
        outcomes["interrupted"],
        sum(each.source == "estimated" for each in used),
        sum(each.input_tokens for each in used),
        sum(each.output_tokens for each in used),
        sum(each.cache_read for each in used),
        sum(each.cache_write for each in used),
        sum(each.reasoning for each in used),
        sum((each.cost_usd or Decimal(0) for each in kept), Decimal(0)),
    )
