"""Neither a key nor a prompt nor an answer leaves by an error, a log or a repr, on any lane."""

from __future__ import annotations

import logging
import pickle
import socket
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from orchestify import (
    APIError,
    LLMMessage,
    LLMProvider,
    MockProvider,
    OrchestifyError,
    ProviderRegistry,
    StreamInterruptedError,
)
from orchestify.testing import Reply, StubServer
from orchestify.values import ToolCall
from tests.lanes import (
    ANTHROPIC_TOOL,
    LANES,
    LITELLMS_OWN_WARNINGS,
    Lane,
    configured,
    opened,
)

pytestmark = LITELLMS_OWN_WARNINGS

KEY = "Zk7-quietly-0f9e8d7c6b5a4938"  # of no form that a pattern would know
HEADER = "hdr-4c5b6a79-88f7-e6d5"
PROMPT = "Bartholomew the Third eats purple quartz on Tuesdays"
SYSTEM = "Never mention the emerald lighthouse of Ponta Delgada"
RESULT = "seventeen xylophones in the attic of the embassy"
ANSWER = "The parchment says that Oskar hid the violin under floorboards"
SECRETS = (KEY, HEADER, PROMPT, SYSTEM, RESULT, ANSWER)

MESSAGES = [
    LLMMessage("system", SYSTEM),
    LLMMessage("user", "hello"),
    LLMMessage("assistant", "", tool_calls=(ToolCall("call_1", "get_weather", {"q": PROMPT}),)),
    LLMMessage("tool", RESULT, tool_call_id="call_1"),
    LLMMessage("user", PROMPT),
]
ECHO = f"key {KEY} and {HEADER} may not ask '{PROMPT}' after '{SYSTEM}' and '{RESULT}'"
PAGE = f"<p>{ECHO}</p>".encode()
GARBAGE = PAGE + ANSWER.encode()

FAULTS: dict[str, Reply] = {
    "400": Reply(status=400, error=ECHO),
    "401": Reply(status=401, error=ECHO),
    "403": Reply(status=403, error={"error": {"message": ECHO, "metadata": {"raw": ECHO}}}),
    "404": Reply(status=404, error=ECHO),
    "422": Reply(status=422, error={"detail": [{"loc": ["body"], "msg": ECHO, "input": PROMPT}]}),
    "429": Reply(status=429, error=ECHO, retry_after=KEY),
    "500": Reply(status=500, error=ECHO),
    "text": Reply(status=502, raw_body=PAGE),
    "headers": Reply(
        status=500,
        headers={
            "x-request-id": f"req-{KEY}",
            "request-id": f"req-{KEY}",
            "x-debug": ECHO.replace("'", ""),
        },
    ),
    "garbage": Reply(raw_body=GARBAGE),
    "list": Reply(raw_body=f'["{ECHO}", "{ANSWER}"]'.encode()),
    "half-json": Reply(text=ANSWER, eof_after=0),
    "inline": Reply(inline_error=True, error=ECHO),
    "cut": Reply(text=ANSWER, cut_after=0),
    "reset": Reply(reset=True),
    "in-the-middle": Reply(text=ANSWER, error_after=3, error=ECHO),
    "cut-in-the-middle": Reply(text=ANSWER, cut_after=3),
    "ends-in-the-middle": Reply(text=ANSWER, eof_after=3),
    "bad-event": Reply(raw_body=f'data: {{"choices": ["{ECHO}"], "type": "{KEY}"}}\n\n'.encode()),
}


class Person(BaseModel):
    """What the answer does not fit."""

    name: str


class Recorder(logging.Handler):
    """Keeps what is logged, rendered, with its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {self.format(record)}")


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


@pytest.fixture(params=LANES, ids=lambda lane: lane.name)
def lane(request: pytest.FixtureRequest) -> Lane:
    found: Lane = request.param
    return found


@pytest.fixture
async def registry(lane: Lane, server: StubServer) -> AsyncIterator[ProviderRegistry]:
    config = configured(lane, lane.base_url(server), key=KEY, headers={"X-Secret": HEADER})
    async with opened(config) as registry:
        yield registry


@pytest.fixture
def log() -> Iterator[Recorder]:
    """Record all loggers at DEBUG: the root, and those that do not pass on."""
    recorder = Recorder()
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    levels = [(logger, logger.level) for logger in (logging.root, *loggers)]
    for logger, _ in levels:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(recorder)
    yield recorder
    for logger, level in levels:
        logger.setLevel(level)
        logger.removeHandler(recorder)


def secrets_in(text: str, but: str = "") -> list[str]:
    """Return which secrets, or pieces of 16 characters of them, a text shows."""
    pieces = {secret[at : at + 16] for secret in SECRETS if secret != but for at in (0, 8)}
    return sorted(piece for piece in pieces if piece in text)


def shown(error: BaseException) -> str:
    """Return all that an error shows: itself, its causes, and the locals of its frames."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "\n".join([str(error), repr(error), repr(error.args), *told.format(chain=True)])


async def failed_call(provider: LLMProvider, **arguments: Any) -> APIError:
    """Make a call that fails."""
    try:
        await provider.complete(MESSAGES, tools=[ANTHROPIC_TOOL], **arguments)
    except APIError as error:
        return error
    pytest.fail("the call did not fail")


async def failed_stream(provider: LLMProvider) -> APIError:
    """Read a stream that fails."""
    try:
        async for _ in provider.stream(MESSAGES, tools=[ANTHROPIC_TOOL]).events():
            pass
    except APIError as error:
        return error
    pytest.fail("the stream did not fail")


@pytest.mark.parametrize("reply", FAULTS.values(), ids=FAULTS)
async def test_error_of_a_call_shows_no_secret(
    server: StubServer, registry: ProviderRegistry, log: Recorder, reply: Reply
) -> None:
    server.respond = lambda request: reply
    error = await failed_call(registry.get("it"))
    assert secrets_in(shown(error)) == []
    assert secrets_in("\n".join(log.lines)) == []
    assert secrets_in(str(vars(error))) == []
    assert secrets_in(repr(pickle.dumps(error))) == []


@pytest.mark.parametrize("reply", FAULTS.values(), ids=FAULTS)
async def test_error_of_a_stream_shows_no_secret(
    server: StubServer, registry: ProviderRegistry, log: Recorder, reply: Reply
) -> None:
    server.respond = lambda request: reply
    error = await failed_stream(registry.get("it"))
    assert secrets_in(shown(error)) == []
    assert secrets_in("\n".join(log.lines)) == []
    assert secrets_in(repr(pickle.dumps(error)), but=ANSWER) == []


async def test_error_of_a_cut_stream_holds_its_text_and_does_not_show_it(
    server: StubServer, registry: ProviderRegistry
) -> None:
    server.script(Reply(text=ANSWER, cut_after=3))
    error = await failed_stream(registry.get("it"))
    assert isinstance(error, StreamInterruptedError)
    assert error.text == "The parchment says "
    assert secrets_in(shown(error)) == []


async def test_error_of_a_timeout_shows_no_secret(
    server: StubServer, registry: ProviderRegistry, log: Recorder
) -> None:
    server.respond = lambda request: Reply(slow_headers_s=30)
    error = await failed_call(registry.get("it"), timeout_s=1)
    assert secrets_in(shown(error)) == []
    assert secrets_in("\n".join(log.lines)) == []


async def test_error_of_a_refused_connection_shows_no_secret(lane: Lane, log: Recorder) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    config = configured(lane, f"http://127.0.0.1:{port}/v1", key=KEY, headers={"X-S": HEADER})
    async with opened(config) as registry:
        error = await failed_call(registry.get("it"))
    assert secrets_in(shown(error)) == []
    assert secrets_in("\n".join(log.lines)) == []


async def test_error_of_an_answer_that_does_not_fit_shows_no_secret(
    server: StubServer, registry: ProviderRegistry
) -> None:
    server.script(Reply(text=f'{{"name": ["{ANSWER}"]}}'))
    error = await failed_call(registry.get("it"), response_format=Person)
    assert secrets_in(shown(error)) == []


async def test_logs_of_calls_that_go_well_show_no_secret(
    server: StubServer, registry: ProviderRegistry, log: Recorder
) -> None:
    server.script(Reply(text=ANSWER), Reply(text=ANSWER))
    provider = registry.get("it")
    assert (await provider.complete(MESSAGES)).content == ANSWER
    assert "".join([piece async for piece in provider.stream(MESSAGES)]) == ANSWER
    assert secrets_in("\n".join(log.lines)) == []


async def test_reprs_show_no_secret(
    lane: Lane, server: StubServer, registry: ProviderRegistry
) -> None:
    server.script(Reply(text=ANSWER, thinking=ANSWER), Reply(text=ANSWER))
    provider = registry.get("it")
    config = configured(lane, lane.base_url(server), key=KEY, headers={"X-Secret": HEADER})
    response = await provider.complete(MESSAGES)
    stream = provider.stream(MESSAGES)
    events = [event async for event in stream.events()]
    told = [provider, registry, registry.get_for_agent("plain"), config, response, events, stream]
    assert secrets_in(repr([*told, response.to_message(), MESSAGES])) == []
    assert secrets_in(str(config.model_dump()) + config.model_dump_json()) == []
    assert secrets_in(repr(registry.get_usage_summary()) + repr(registry.get_health())) == []


async def test_locals_of_a_lane_show_no_secret(lane: Lane, server: StubServer) -> None:
    config = configured(lane, lane.base_url(server), key=KEY, headers={"X-Secret": HEADER})
    async with opened(config) as registry:
        provider = registry.get("it")
        assert secrets_in(repr(vars(provider)) + repr(vars(provider._lane))) == []  # type: ignore[attr-defined]


async def test_request_shows_no_secret() -> None:
    provider = MockProvider("it", {"api_key": KEY}, answers=[ANSWER])
    await provider.complete(MESSAGES, options={"user": PROMPT})
    assert secrets_in(repr(provider.requests)) == []


async def test_pickled_response_holds_no_key_and_no_prompt(
    server: StubServer, registry: ProviderRegistry
) -> None:
    server.script(Reply(text=ANSWER))
    response = await registry.get("it").complete(MESSAGES)
    pickled = pickle.dumps(response)
    assert secrets_in(repr(pickled), but=ANSWER) == []
    assert pickle.loads(pickled).content == ANSWER  # noqa: S301 - our own


async def test_configuration_and_provider_refuse_to_be_pickled(
    lane: Lane, server: StubServer, registry: ProviderRegistry
) -> None:
    config = configured(lane, lane.base_url(server), key=KEY)
    for holder in (config, config.providers, config.providers.providers["it"], registry.get("it")):
        with pytest.raises((TypeError, OrchestifyError), match="pickled") as caught:
            pickle.dumps(holder)
        assert secrets_in(shown(caught.value)) == []
