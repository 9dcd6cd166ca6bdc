"""What is logged of calls: no text, and nothing above DEBUG of one that goes well."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from orchestify import ServerError
from orchestify.testing import Reply, StubServer
from tests.registries import registry_on

PROMPT = "a prompt that nobody else may read"


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


def of_calls(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    found = [each for each in caplog.records if each.name == "orchestify.calls"]
    return [(each.levelno, each.getMessage()) for each in found]


async def test_an_attempt_is_one_line_at_debug_with_no_text(
    server: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="orchestify")
    server.script(Reply(text="an answer", usage={"prompt_tokens": 7, "completion_tokens": 3}))
    async with registry_on(server, {"a": {"default_model": "gpt-4.1-mini"}}) as registry:
        response = await registry.get("a").complete(PROMPT)
    [(level, line)] = of_calls(caplog)
    begin, _, latency = line.rpartition(" latency_s=")
    assert (level, begin) == (
        logging.DEBUG,
        f"attempt_ended call_id={response.call_id} attempt=1 provider=a model=gpt-4.1-mini agent= "
        "outcome=ok error= input_tokens=7 output_tokens=3 cost_usd=0.0000076",
    )
    assert float(latency) >= 0
    assert PROMPT not in caplog.text
    assert "an answer" not in caplog.text


async def test_a_retry_is_told_at_info_between_its_attempts(
    server: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="orchestify")
    server.script(Reply(status=503), model="a")
    async with registry_on(server, {"a": {}}) as registry:
        await registry.get("a").complete(PROMPT)
    told = [(level, line.split()[0]) for level, line in of_calls(caplog)]
    assert told == [
        (logging.DEBUG, "attempt_ended"),
        (logging.INFO, "retry"),
        (logging.DEBUG, "attempt_ended"),
    ]
    retry = of_calls(caplog)[1][1]
    assert " attempt=1 provider=a model=a agent= wait_s=" in retry
    assert retry.endswith(" error=ServerError")


async def test_a_wait_of_more_than_a_second_is_told_at_info(
    server: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="orchestify")
    limit = {"requests_per_minute": 55, "burst": 1}  # the next turn comes 1.09 s later
    async with registry_on(server, {"a": {"rate_limit": limit}}) as registry:
        await registry.get("a").complete(PROMPT)
        await registry.get("a").complete(PROMPT)
    [(level, line)] = of_calls(caplog)
    assert level == logging.INFO
    assert line.startswith("waited_for_turn call_id=")
    assert " provider=a model=a agent= wait_s=1." in line


async def test_nothing_is_logged_at_info_of_calls_that_go_well(
    server: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="orchestify")
    async with registry_on(server, {"a": {}}) as registry:
        await registry.get("a").complete(PROMPT)
    assert caplog.messages == []


async def test_a_line_has_its_fields_for_programs_and_stays_one_line(
    server: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="orchestify.calls")
    async with registry_on(server, {"a": {}}) as registry:
        with pytest.raises(ServerError):
            await registry.get("a").complete(PROMPT, model="m\nERROR;status=503", max_attempts=1)
    record = next(each for each in caplog.records if each.name == "orchestify.calls")
    assert "\n" not in record.getMessage()
    fields = record.fields  # type: ignore[attr-defined]
    assert (fields["event"], fields["outcome"], fields["error"]) == (
        "attempt_ended",
        "failed",
        "ServerError",
    )
    assert fields["model"] == "m\nERROR;status=503"
