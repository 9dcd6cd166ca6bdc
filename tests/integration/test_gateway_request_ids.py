"""Every answer of the gateway has an id of its request, where each vendor's client looks for it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from orchestify.testing import Reply
from tests.gateways import CHAT, HELLO, Gateway, gateway

MESSAGES, RESPONSES, EMBEDDINGS = "/v1/messages", "/v1/responses", "/v1/embeddings"
CALLS = (CHAT, MESSAGES, RESPONSES, EMBEDDINGS)
BODY: Any = {"model": "gpt/gpt-4o", "messages": HELLO, "input": "hi", "max_tokens": 5}
ASKED: dict[str, Any] = {"model": "claude/claude-sonnet-4-5", "messages": HELLO, "max_tokens": 5}


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    limit = {"body_limit_bytes": 5000, "access_log": True}
    async with gateway(tmp_path, settings=limit) as each:
        yield each


def client_of(gate: Gateway, token: str | None = None) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        base_url=gate.served.url, api_key=token or gate.token, max_retries=0
    )


def id_of(answer: Any) -> str:
    """The id of an answer, which stands in both headers and in the body of Anthropic's errors."""
    found: str = answer.headers["request-id"]
    assert answer.headers["x-request-id"] == found
    if "request_id" in answer.json():
        assert answer.json()["request_id"] == found
    return found


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("POST", path, 400) for path in CALLS),
        *(("PUT", path, 405) for path in CALLS),
        *(("GET", path, 200) for path in ("/v1/models", "/v1/models/gpt-4o")),
        ("GET", f"{RESPONSES}/resp_x", 404),
        ("DELETE", f"{RESPONSES}/resp_x", 404),
        ("GET", f"{MESSAGES}/nothing", 404),
        ("GET", "/v1/nothing", 404),
    ],
)
async def test_what_comes_to_no_call_has_an_id(
    gate: Gateway, method: str, path: str, status: int
) -> None:
    answers = [await gate.served.ask(method, path, gate.token) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [status] * 2
    first, second = map(id_of, answers)
    assert first != second


@pytest.mark.parametrize("path", CALLS)
async def test_what_is_not_let_in_has_an_id(gate: Gateway, path: str) -> None:
    reader = gate.served.token("acme", "read")
    for token, status in (("ork_nobody_knows", 401), (reader, 403)):
        answer = await gate.served.ask("POST", path, token, json=BODY)
        assert (answer.status_code, len(id_of(answer))) == (status, 32)


@pytest.mark.parametrize("path", CALLS)
async def test_a_body_that_is_too_large_has_an_id(gate: Gateway, path: str) -> None:
    answer = await gate.served.ask("POST", path, gate.token, content=b"x" * 5001)
    assert (answer.status_code, len(id_of(answer))) == (413, 32)


async def test_each_clients_own_name_for_it_is_the_calls_id(gate: Gateway) -> None:
    chat = await gate.client.chat.completions.create(model="gpt/gpt-4o", messages=HELLO)
    response = await gate.client.responses.create(model="gpt/gpt-4o", input="hi")
    async with client_of(gate) as client:
        message = await client.messages.create(**ASKED)
    told = [chat._request_id, response._request_id, message._request_id]
    assert told == [f"{row[0]}" for row in gate.rows("call_id")]


@pytest.mark.parametrize("reply", [Reply(status=400), Reply(status=429)], ids=str)
async def test_the_clients_errors_have_it(gate: Gateway, reply: Reply) -> None:
    gate.stub.script(reply, reply)
    with pytest.raises(openai.APIStatusError) as refused:
        await gate.client.chat.completions.create(model="gpt/gpt-4o", messages=HELLO)
    assert refused.value.request_id == refused.value.response.headers["x-orchestify-call-id"]
    async with client_of(gate) as client:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await client.messages.create(**ASKED)
    assert caught.value.request_id == caught.value.response.headers["x-orchestify-call-id"]


async def test_a_stream_that_breaks_off_tells_it_in_the_event(gate: Gateway) -> None:
    gate.stub.script(Reply(text="one two three", cut_after=2))
    answer = await gate.served.ask("POST", MESSAGES, gate.token, json={**ASKED, "stream": True})
    event = json.loads(answer.text.strip().rpartition("data: ")[2])
    assert event["request_id"] == answer.headers["request-id"]


async def test_the_access_log_has_it(gate: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "orchestify.access")
    answer = await gate.served.ask("POST", MESSAGES, "ork_nobody_knows", json=ASKED)
    (fields,) = [record.fields for record in caplog.records if record.name == "orchestify.access"]
    assert fields["request_id"] == answer.headers["request-id"]


UPSTREAM = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (401, anthropic.APIStatusError, "api_error"),
    (403, anthropic.APIStatusError, "api_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (413, anthropic.APIStatusError, "request_too_large"),
    (422, anthropic.BadRequestError, "invalid_request_error"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (503, anthropic.InternalServerError, "overloaded_error"),
    (529, anthropic.InternalServerError, "overloaded_error"),
]
TOLD = {401: 502, 403: 502, 422: 400, 500: 502, 503: 529}


@pytest.mark.parametrize("model", ["gpt/gpt-4o", "claude/claude-sonnet-4-5"])
@pytest.mark.parametrize(("status", "kind", "word"), UPSTREAM, ids=[row[0] for row in UPSTREAM])
async def test_a_providers_status_is_the_class_that_anthropics_client_has_for_it(
    gate: Gateway, status: int, kind: type[anthropic.APIStatusError], word: str, model: str
) -> None:
    gate.stub.script(Reply(status=status))
    async with client_of(gate) as client:
        with pytest.raises(kind) as caught:
            await client.messages.create(**{**ASKED, "model": model})
    assert caught.value.status_code == TOLD.get(status, status)
    body: Any = caught.value.body
    assert body["error"]["type"] == word
