"""What OpenAI's client hears when something fails, before the first output and after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from orchestify.testing import Reply
from orchestify.values import Usage
from tests.gateways import CHAT, HELLO, KEY, Gateway, gateway
from tests.ledgers import until

SECRET = "what-the-caller-asked-in-confidence"
CALL_ID = "x-orchestify-call-id"
AGENTS = {
    "patient": {"provider": "gpt"},
    "hasty": {"provider": "gpt", "timeout_s": 0.3},
    "fragile": {"provider": "gpt", "circuit_breaker": {"failures": 1}},
    "poor": {"provider": "gpt"},
    "spent": {"provider": "gpt"},
    "limited": {"provider": "gpt", "rate_limit": {"requests_per_minute": 1}},
    "doomed": {"provider": "gpt", "fallback": ["claude"]},
}
BUDGETS = [
    {"name": "tiny", "match": {"agent": "poor"}, "limit_usd": 0.000001, "period": "day"},
    {"name": "small", "match": {"agent": "spent"}, "limit_usd": 0.15, "period": "day"},
]


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, AGENTS, budgets=BUDGETS) as each:
        yield each


async def refused(gate: Gateway, agent: str = "patient", **more: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        await gate.client.chat.completions.create(
            **{"model": f"agent:{agent}", "messages": HELLO, **more}
        )
    return caught.value


FAILURES = [
    (Reply(status=401), 502, "api_error", "provider_authentication_failed"),
    (Reply(status=403), 502, "api_error", "provider_permission_denied"),
    (Reply(status=404), 404, "invalid_request_error", "model_not_found"),
    (Reply(status=400), 400, "invalid_request_error", "provider_refused_request"),
    (Reply(error="context_window"), 400, "invalid_request_error", "context_length_exceeded"),
    (Reply(error="content_filter"), 400, "invalid_request_error", "content_filter"),
    (Reply(status=429), 429, "rate_limit_error", "rate_limit_exceeded"),
    (Reply(status=500), 502, "api_error", "provider_failed"),
    (Reply(status=503), 503, "api_error", "provider_failed"),
    (Reply(status=529), 503, "api_error", "provider_failed"),
    (Reply(status=413), 400, "invalid_request_error", "context_length_exceeded"),
    (Reply(reset=True), 502, "api_error", "provider_unreachable"),
    (Reply(garbage=True), 502, "api_error", "provider_failed"),
]


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("reply", "status", "kind", "code"), FAILURES, ids=[str(row[3:]) for row in FAILURES]
)
async def test_a_providers_failure_has_a_status_and_a_code(
    gate: Gateway, reply: Reply, status: int, kind: str, code: str, is_stream: bool
) -> None:
    gate.stub.script(reply)
    error = await refused(gate, stream=is_stream)
    assert (error.status_code, error.type, error.code) == (status, kind, code)


async def test_a_message_holds_no_key_and_no_prompt(gate: Gateway) -> None:
    leak = f"{SECRET} was refused for the key {KEY}"
    gate.stub.script(Reply(status=400, error=leak))
    error = await refused(gate, messages=[{"role": "user", "content": SECRET}])
    assert SECRET not in error.response.text
    assert KEY not in error.response.text


async def test_a_rate_limit_says_when_to_come_again(gate: Gateway) -> None:
    gate.stub.script(Reply(status=429, retry_after="7"))
    error = await refused(gate)
    assert error.response.headers["retry-after"] == "7"


async def test_a_key_that_the_provider_refuses_is_not_tried_again(gate: Gateway) -> None:
    gate.stub.script(Reply(status=401))
    error = await refused(gate)
    assert error.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_provider_that_takes_too_long_is_a_504(gate: Gateway, is_stream: bool) -> None:
    gate.stub.script(Reply(slow_headers_s=20))
    error = await refused(gate, "hasty", stream=is_stream)
    assert (error.status_code, error.code) == (504, "provider_timeout")


async def test_an_open_circuit_is_a_503_that_says_when_to_come_again(gate: Gateway) -> None:
    gate.stub.script(Reply(status=500))
    await refused(gate, "fragile")
    error = await refused(gate, "fragile")
    assert (error.status_code, error.code) == (503, "circuit_open")
    assert 25 <= int(error.response.headers["retry-after"]) <= 30


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_budget_without_room_is_an_exhausted_quota(gate: Gateway, is_stream: bool) -> None:
    gate.stub.script(Reply(usage=Usage(input_tokens=1000, output_tokens=0)))
    body: dict[str, Any] = {"model": "agent:spent", "messages": HELLO, "max_tokens": 100}
    await gate.client.chat.completions.create(**body)
    error = await refused(gate, "spent", stream=is_stream, max_tokens=100)
    assert (error.status_code, error.type, error.code) == (
        429,
        "insufficient_quota",
        "budget_exceeded",
    )
    assert error.response.headers["x-should-retry"] == "false"
    assert 0 < int(error.response.headers["retry-after"]) <= 86_400
    assert len(error.response.headers[CALL_ID]) > 0
    assert gate.stub.account.received == 1


async def test_a_call_that_no_period_has_room_for_is_not_told_to_wait(gate: Gateway) -> None:
    error = await refused(gate, "poor")
    assert (error.status_code, error.code) == (429, "budget_exceeded")
    assert "retry-after" not in error.response.headers
    assert "more than the whole limit; lower max_tokens or raise the limit" in error.message


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("agent", "reply"),
    [
        ("patient", Reply(status=401)),
        ("patient", Reply(reset=True)),
        ("hasty", Reply(slow_headers_s=20)),
        ("doomed", Reply(status=500)),
    ],
    ids=str,
)
async def test_an_error_tells_the_id_of_the_call_that_it_ended(
    gate: Gateway, agent: str, reply: Reply, is_stream: bool
) -> None:
    gate.stub.script(reply, Reply(status=500))
    error = await refused(gate, agent, stream=is_stream)
    await until(lambda: {"failed"} == {row[0] for row in gate.rows("outcome")})
    assert {row[0] for row in gate.rows("call_id")} == {error.response.headers[CALL_ID]}


@pytest.mark.parametrize("asked", [{"model": "nobody-has-it"}, {"temperature": -1}], ids=str)
async def test_what_came_to_no_call_has_no_id(gate: Gateway, asked: dict[str, Any]) -> None:
    error = await refused(gate, **asked)
    assert CALL_ID not in error.response.headers


async def test_of_several_failures_the_one_that_may_pass_is_told(gate: Gateway) -> None:
    gate.stub.script(Reply(status=429, retry_after="3"), Reply(status=401))
    error = await refused(gate, "doomed")
    assert (error.status_code, error.code) == (429, "rate_limit_exceeded")
    assert error.response.headers["retry-after"] == "3"
    assert "none of 2 targets answered" in error.message


@pytest.mark.parametrize(
    "model",
    [
        *("nobody-has-it", "agent:nobody", "gpt/", "gpt/\x00"),
        *("x" * 5000, "gpt/" + "x" * 201, "agent:" + "x" * 5000),
    ],
)
async def test_a_model_that_nobody_has_is_a_404(gate: Gateway, model: str) -> None:
    error = await refused(gate, model=model)
    assert (error.status_code, error.code, error.param) == (404, "model_not_found", "model")
    assert len(error.response.content) < 500


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("nope/x", "there are claude/claude-sonnet-4-5, gpt/gpt-4o"),
        ("gpt/", "there are gpt/gpt-4o"),
    ],
)
async def test_a_model_that_nobody_has_is_told_with_those_there_are(
    gate: Gateway, model: str, known: str
) -> None:
    error = await refused(gate, model=model)
    assert error.body["message"].endswith(f"or an agent as agent:NAME; {known}")


async def test_a_caller_says_how_long_a_call_may_wait_for_its_turn(gate: Gateway) -> None:
    body: dict[str, Any] = {"model": "agent:limited", "messages": HELLO}
    await gate.client.chat.completions.create(**body)
    error = await refused(gate, "limited", extra_headers={"x-orchestify-timeout-s": "0.2"})
    assert (error.status_code, error.code) == (429, "rate_limit_exceeded")
    assert 1 <= int(error.response.headers["retry-after"]) <= 60
    assert "our own rate limit has no turn for this call before its deadline" in error.message
    assert gate.stub.account.received == 1


@pytest.mark.parametrize("text", ["", "soon", "0", "-1", "nan", "inf", "3601"])
async def test_a_time_limit_that_is_none_is_refused(gate: Gateway, text: str) -> None:
    error = await refused(gate, extra_headers={"x-orchestify-timeout-s": text})
    assert error.status_code == 400
    assert error.body["message"] == (
        "x-orchestify-timeout-s: expected seconds, more than 0 and up to 3600"
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1", 404), ("GET", "/v1/audio/speech", 404), ("GET", CHAT, 405)],
)
async def test_what_the_gateway_has_not_is_told_in_openai_s_form(
    gate: Gateway, method: str, path: str, status: int
) -> None:
    answer = await gate.served.ask(method, path, gate.token)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_stream_that_breaks_off_ends_with_an_error_and_without_done(gate: Gateway) -> None:
    gate.stub.script(Reply(text="one two three", cut_after=2))
    body = {"model": "gpt-4o", "messages": HELLO, "stream": True}
    answer = await gate.served.ask("POST", CHAT, gate.token, json=body)
    last = answer.text.strip().rpartition("\n\n")[2]
    assert answer.status_code == 200
    assert '"content":"two "' in answer.text
    assert last.startswith('data: {"error": {"message": "gpt/gpt-4o: ')
    assert '"code": "stream_interrupted"' in last
    assert "[DONE]" not in answer.text


async def test_the_client_raises_where_a_stream_breaks_off(gate: Gateway) -> None:
    gate.stub.script(Reply(text="one two three", error_after=2))
    pieces: list[str] = []

    async def read() -> None:
        stream = await gate.client.chat.completions.create(
            model="gpt-4o", messages=HELLO, stream=True
        )
        pieces.extend([chunk.choices[0].delta.content or "" async for chunk in stream])

    with pytest.raises(openai.APIError) as caught:
        await read()
    assert caught.value.code == "stream_interrupted"


async def test_a_token_is_needed(gate: Gateway) -> None:
    for path, method in ((CHAT, "POST"), ("/v1/models", "GET"), ("/v1/models/gpt-4o", "GET")):
        answer = await gate.served.ask(method, path, "ork_nobody_knows")
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == 'Bearer realm="orchestify"'


async def test_the_scope_call_is_needed(gate: Gateway) -> None:
    reader = gate.served.token("acme", "read")
    for path, method in ((CHAT, "POST"), ("/v1/models", "GET"), ("/v1/models/gpt-4o", "GET")):
        answer = await gate.served.ask(method, path, reader)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "insufficient_permissions"


async def test_a_token_has_so_many_requests_a_minute(tmp_path: Path) -> None:
    async with gateway(tmp_path, settings={"requests_per_minute": 1}) as gate:
        first = await gate.served.ask("GET", "/v1/models", gate.token)
        second = await gate.served.ask("GET", "/v1/models", gate.token)
    assert (first.status_code, second.status_code) == (200, 429)
    assert second.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(second.headers["retry-after"]) <= 60


async def test_a_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path, settings={"body_limit_bytes": 1000}) as gate:
        answer = await gate.served.ask("POST", CHAT, gate.token, content=b"x" * 1001)
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_body_that_cannot_be_used_names_the_field(gate: Gateway) -> None:
    error = await refused(gate, temperature="warm")
    assert (error.status_code, error.type) == (400, "invalid_request_error")
    assert (error.param, error.body["message"]) == ("temperature", "temperature is a number")
    assert gate.stub.account.received == 0
