from __future__ import annotations

import logging
import socket
from contextlib import closing

import httpx
import pytest
from fastapi import FastAPI

from orchestify.errors import AccessError, LedgerError, StoreError, VaultError
from orchestify.server.api.errors import KINDS, answer_errors
from orchestify.server.middleware import Unexpected
from orchestify.server.running import listen

SECRET = "sk-made-up-secret"


async def answer_to(error: Exception, path: str = "/api/v1/broken") -> httpx.Response:
    app = FastAPI()
    answer_errors(app)
    app.add_middleware(Unexpected)

    @app.get(path)
    async def broken() -> None:
        raise error

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path)


async def test_what_nobody_foresaw_is_told_and_logged_without_its_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "orchestify.server"):
        answer = await answer_to(RuntimeError(SECRET))
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "the service failed; its log says where"
    assert "unexpected RuntimeError" in caplog.text
    assert "in broken" in caplog.text
    assert SECRET not in answer.text + caplog.text


async def test_what_nobody_foresaw_is_told_in_openai_s_form_by_the_gateway() -> None:
    answer = await answer_to(RuntimeError(SECRET), "/v1/broken")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["type"] == "server_error"
    assert answer.json()["error"]["message"] == "the service failed; its log says where"


@pytest.mark.parametrize("kind", [StoreError, LedgerError])
async def test_a_database_that_is_away_is_named_in_the_log_alone(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "orchestify.server"):
        answer = await answer_to(kind("postgresql://db.internal/service cannot be used"))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "db.internal" not in answer.text
    assert "db.internal" in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (AccessError("no", status=401), 401, {"www-authenticate": 'Bearer realm="orchestify"'}),
        (AccessError("no", status=403), 403, {}),
        (AccessError("no", status=429, retry_after_s=2.1), 429, {"retry-after": "3"}),
        (VaultError("no key is set"), 503, {}),
    ],
    ids=str,
)
async def test_an_error_of_ours_has_its_status_title_and_headers(
    error: Exception, status: int, headers: dict[str, str]
) -> None:
    answer = await answer_to(error)
    assert answer.status_code == status
    assert answer.json()["type"] == f"urn:orchestify:problem:{KINDS[status][0]}"
    assert {name: answer.headers[name] for name in headers} == headers


def test_answers_are_not_held_back_by_nagle_s_algorithm() -> None:
    with closing(listen("127.0.0.1", 0)[0]) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # asyncio then turns it off
