from __future__ import annotations

import csv
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO, StringIO
from pathlib import Path

import pytest
import pytest_asyncio

from orchestify.testing import StubServer
from tests.extras import needs
from tests.ledgers import answered, opened, until
from tests.servers import AGENTS, PROVIDERS, Served, serving
from tests.unit.ledger.test_writer import DeadlyWriter

KEY = "sk-made-up-key-0123456789"
CONFIG = {"default_model": "claude-sonnet-4-6"}
CLAUDE = {"provider_type": "anthropic", "api_key": KEY, "config": CONFIG}
OLLAMA = {"provider_type": "ollama", "config": {"default_model": "llama3"}}


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as each:
        yield each


@pytest_asyncio.fixture
async def acme(served: Served) -> str:
    return served.token("acme")


async def test_a_provider_is_added_with_201_its_place_and_no_key(served: Served, acme: str) -> None:
    answer = await served.ask("POST", PROVIDERS, acme, json=CLAUDE)
    row = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{PROVIDERS}/{row['id']}"
    assert row["has_key"] is True
    assert row["name"] == "anthropic"
    assert row["config"] == {"default_model": "claude-sonnet-4-6"}
    assert KEY not in answer.text


async def test_a_provider_is_read_changed_and_removed(served: Served, acme: str) -> None:
    added = await served.ask("POST", PROVIDERS, acme, json=CLAUDE)
    place = added.headers["location"]
    changed = await served.ask("PUT", place, acme, json={"name": "main", "is_default": True})
    removed = await served.ask("DELETE", place, acme)
    read = await served.ask("GET", place, acme)
    assert (changed.status_code, changed.json()["name"]) == (200, "main")
    assert changed.json()["has_key"] is True
    assert (removed.status_code, removed.content) == (204, b"")
    assert read.json()["is_active"] is False
    assert read.json()["has_key"] is False


async def test_a_key_is_taken_away_by_null(served: Served, acme: str) -> None:
    added = await served.ask("POST", PROVIDERS, acme, json={**OLLAMA, "api_key": KEY})
    changed = await served.ask("PUT", added.headers["location"], acme, json={"api_key": None})
    assert added.json()["has_key"] is True
    assert changed.json()["has_key"] is False


async def test_pages_lead_to_each_other(served: Served, acme: str) -> None:
    for name in ("one", "two", "three"):
        await served.ask("POST", PROVIDERS, acme, json={**CLAUDE, "name": name})
    first = await served.ask("GET", f"{PROVIDERS}?limit=2", acme)
    link = first.headers["link"]
    last = await served.ask("GET", link.partition(">")[0].removeprefix("<"), acme)
    assert [row["name"] for row in first.json()["items"]] == ["one", "two"]
    assert link.endswith('>; rel="next"')
    assert [row["name"] for row in last.json()["items"]] == ["three"]
    assert last.json()["next"] is None
    assert "link" not in last.headers


async def test_an_agent_is_added_changed_and_removed(served: Served, acme: str) -> None:
    await served.ask("POST", PROVIDERS, acme, json={**CLAUDE, "name": "main"})
    agent = {"agent_id": "planner", "provider": "main", "temperature": 0.2, "api_key": KEY}
    added = await served.ask("POST", AGENTS, acme, json=agent)
    place = added.headers["location"]
    changed = await served.ask("PUT", place, acme, json={"temperature": None, "max_tokens": 99})
    removed = await served.ask("DELETE", place, acme)
    assert (added.status_code, added.json()["temperature"]) == (201, 0.2)
    assert added.json()["has_key"] is True
    assert changed.json()["temperature"] is None
    assert changed.json()["max_tokens"] == 99
    assert removed.status_code == 204
    assert KEY not in added.text + changed.text


async def test_what_could_not_run_is_refused_with_all_problems(served: Served, acme: str) -> None:
    config = {"default_model": "claude", "max_tokens": -1, "timeout_s": "soon"}
    wrong = {**CLAUDE, "config": config}
    answer = await served.ask("POST", PROVIDERS, acme, json=wrong)
    problem = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "urn:orchestify:problem:invalid-request"
    assert len(problem["problems"]) == 2
    assert sorted(line.partition(": ")[0] for line in problem["problems"]) == [
        "config.max_tokens",
        "config.timeout_s",
    ]
    listed = await served.ask("GET", PROVIDERS, acme)
    assert listed.json()["items"] == []


async def test_an_agent_called_by_a_number_is_kept_by_its_text(served: Served, acme: str) -> None:
    await served.ask("POST", PROVIDERS, acme, json={**CLAUDE, "name": "main"})
    added = await served.ask("POST", AGENTS, acme, json={"agent_id": 1, "provider": "main"})
    refused = await served.ask("POST", AGENTS, acme, json={"agent_id": True})
    assert (added.status_code, added.json()["agent_id"]) == (201, "1")
    assert refused.status_code == 422


async def test_a_provider_that_an_agent_uses_is_not_removed(served: Served, acme: str) -> None:
    added = await served.ask("POST", PROVIDERS, acme, json={**CLAUDE, "name": "main"})
    await served.ask("POST", AGENTS, acme, json={"agent_id": "a1", "provider": "main"})
    answer = await served.ask("DELETE", added.headers["location"], acme)
    assert answer.status_code == 409
    assert answer.json()["detail"] == "agent a1 uses it; change or remove the agent first"


async def test_what_was_removed_is_listed_where_it_is_asked_for(served: Served, acme: str) -> None:
    for path, body in ((PROVIDERS, CLAUDE), (AGENTS, {"agent_id": "a", "enabled": False})):
        added = await served.ask("POST", path, acme, json=body)
        await served.ask("DELETE", added.headers["location"], acme)
        standing = await served.ask("GET", path, acme)
        everything = await served.ask("GET", f"{path}?removed=true", acme)
        assert standing.json()["items"] == []
        assert [each["id"] for each in everything.json()["items"]] == [added.json()["id"]]


async def test_the_operators_providers_are_listed_without_key_and_address(tmp_path: Path) -> None:
    theirs = {"api_key": KEY, "base_url": "https://hidden.example/v1"}
    house = {"type": "openai", "default_model": "gpt-5.1", **theirs}
    providers = {"house": house, "anthropic": house, "off": house | {"enabled": False}}
    agents = {"writer": {"provider": "house", "model": "gpt-5.1-mini"}}
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"providers": providers, "agents": agents}))
    async with serving(tmp_path, config_path=config) as served:
        token = served.token("acme")
        await served.ask("POST", PROVIDERS, token, json=CLAUDE)
        listed = await served.ask("GET", PROVIDERS, token)
    models = ["gpt-5.1", "gpt-5.1-mini"]
    assert listed.json()["inherited"] == [
        {"name": "house", "type": "openai", "default_model": "gpt-5.1", "models": models}
    ]
    assert KEY not in listed.text
    assert "hidden" not in listed.text


async def test_a_name_that_is_taken_is_a_conflict(served: Served, acme: str) -> None:
    await served.ask("POST", PROVIDERS, acme, json=CLAUDE)
    answer = await served.ask("POST", PROVIDERS, acme, json=CLAUDE)
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:orchestify:problem:conflict"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            {"provider_type": 7, "api_key": KEY},
            "body.provider_type: expected text",
        ),
        ({**CLAUDE, "api_key": f"{KEY}\u00e9"}, "body.api_key: expected printable ASCII without"),
        ({**CLAUDE, "apikey": KEY}, "body.apikey: unknown key; did you mean 'api_key'?"),
    ],
)
async def test_a_refused_body_never_shows_what_it_held(
    served: Served, acme: str, body: dict[str, object], line: str
) -> None:
    answer = await served.ask("POST", PROVIDERS, acme, json=body)
    assert answer.status_code == 422
    assert line in answer.text
    assert KEY not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "request_", "status", "kind"),
    [
        ("GET", "/api/v1/nothing", {}, 404, "not-found"),
        ("GET", f"{PROVIDERS}/no-such-row", {}, 404, "not-found"),
        ("GET", f"{PROVIDERS}/%00", {}, 422, "invalid-request"),
        ("PATCH", PROVIDERS, {}, 405, "method-not-allowed"),
        ("POST", PROVIDERS, {"content": b"{", "headers": {"content-type": "application/json"}},
         400, "malformed-request"),
        ("POST", PROVIDERS, {"content": b"{}", "headers": {"content-type": "text/plain"}},
         415, "unsupported-media-type"),
        ("POST", PROVIDERS, {}, 422, "invalid-request"),
        ("GET", f"{PROVIDERS}?limit=201", {}, 422, "invalid-request"),
        ("GET", "/api/v1/usage?since=yesterday", {}, 422, "invalid-request"),
        ("GET", "/api/v1/usage?since=9999-12-31T23:59:59%2B14:00", {}, 422, "invalid-request"),
        ("GET", "/api/v1/usage?since=9999-12-31T23:59:59-14:00", {}, 422, "invalid-request"),
        ("GET", "/api/v1/usage?until=0001-01-01T00:00:00%2B14:00", {}, 422, "invalid-request"),
        ("GET", "/api/v1/usage?limit=0", {}, 422, "invalid-request"),
        ("GET", "/api/v1/usage?limit=10001", {}, 422, "invalid-request"),
        ("GET", "/api/v1/usage?by=moon", {}, 422, "invalid-request"),
        ("GET", "/api/v1/usage?where=agent", {}, 422, "invalid-request"),
    ],
)  # fmt: skip
async def test_every_error_is_a_problem(
    served: Served, acme: str, method: str, path: str, request_: dict, status: int, kind: str
) -> None:
    answer = await served.ask(method, path, acme, **request_)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:orchestify:problem:{kind}"
    assert answer.json()["status"] == status


@pytest.mark.parametrize(
    ("path", "methods"),
    [(PROVIDERS, "GET, POST"), (f"{PROVIDERS}/some", "DELETE, GET, PUT"), (AGENTS, "GET, POST")],
)
async def test_405_names_all_methods_of_the_path(
    served: Served, acme: str, path: str, methods: str
) -> None:
    answer = await served.ask("PATCH", path, acme)
    assert (answer.status_code, answer.headers["allow"]) == (405, methods)


async def test_a_body_beyond_the_limit_is_413_also_without_its_length(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 1024

    headers = {"content-type": "application/json"}
    async with serving(tmp_path, body_limit_bytes=20_000) as served:
        token = served.token("acme")
        declared = await served.ask(
            "POST", PROVIDERS, token, content=b" " * 65_536, headers=headers
        )
        counted = await served.ask("POST", PROVIDERS, token, content=endless(), headers=headers)
    assert (declared.status_code, counted.status_code) == (413, 413)
    assert counted.json()["type"] == "urn:orchestify:problem:content-too-large"
    assert counted.json()["detail"].startswith("the body is larger than the ")


async def test_a_provider_is_tested_by_a_free_request_or_by_a_call(
    served: Served, acme: str
) -> None:
    async with StubServer() as stub:
        config = {"base_url": f"{stub.url}/v1", "default_model": "gpt-4.1-mini"}
        body = {"provider_type": "openai", "api_key": KEY, "config": config}
        added = await served.ask("POST", PROVIDERS, acme, json=body)
        place = f"{added.headers['location']}/test"
        free = await served.ask("POST", place, acme)
        call = await served.ask("POST", place, acme, json={"prompt": True})
        wrong = await served.ask(
            "POST", place, acme, json={"prompt": True, "model": "missing-model"}
        )
        usage = await served.ask("GET", f"{added.headers['location']}/usage?by=model", acme)
    assert free.json()["result"] == "ok"
    assert free.json()["message"].endswith("models listed")
    assert call.json()["result"] == "ok"
    assert wrong.json()["result"] == "failed"
    assert "ModelNotFoundError" in wrong.json()["message"]
    assert [(row["model"], row["attempts"]) for row in usage.json()["rows"]] == [
        ("gpt-4.1-mini", 1),
        ("missing-model", 1),
    ]


async def test_a_report_has_as_many_rows_as_asked_for(served: Served, acme: str) -> None:
    ledger = served.service.ledger.for_tenant("acme")
    for number in range(3):
        record = opened(model=f"m{number}")
        await ledger.open(record)
        ledger.complete(answered(record, cost_usd=Decimal(number)))
    short = await served.ask("GET", "/api/v1/usage?by=model&limit=2", acme)
    text = await served.ask("GET", "/api/v1/usage?by=model&limit=1&format=csv", acme)
    whole = await served.ask("GET", "/api/v1/usage?by=model", acme)
    assert [row["model"] for row in short.json()["rows"]] == ["m1", "m2"]
    assert (short.json()["rows_left"], short.json()["total"]["cost_usd"]) == (1, "3")
    assert (len(text.text.splitlines()), text.headers["x-orchestify-rows-left"]) == (2, "2")
    assert (len(whole.json()["rows"]), whole.json()["rows_left"]) == (3, 0)


async def test_a_report_is_had_in_finances_formats(served: Served, acme: str) -> None:
    ledger = served.service.ledger.for_tenant("acme")
    record = opened(model="m1", started_at=datetime(2026, 3, 14, tzinfo=UTC))
    await ledger.open(record)
    ledger.complete(answered(record, cost_usd=Decimal("0.5")))
    focus = await served.ask("GET", "/api/v1/usage?by=tenant&format=focus", acme)
    needs("pyarrow", "parquet")
    from pyarrow import parquet  # noqa: PLC0415 - an extra

    table = await served.ask("GET", "/api/v1/usage?by=model&format=parquet", acme)
    (charge,) = csv.DictReader(StringIO(focus.text))
    told = [charge[name] for name in ("BilledCost", "ChargePeriodStart", "SubAccountId", "SkuId")]
    assert told == ["0.5", "2026-03-14T00:00:00Z", "acme", "m1"]
    assert table.headers["content-type"] == "application/vnd.apache.parquet"
    assert parquet.read_table(BytesIO(table.content))["model"].to_pylist() == ["m1"]


async def test_a_format_that_is_not_installed_is_told(
    served: Served, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    answer = await served.ask("GET", "/api/v1/usage?format=parquet", acme)
    assert answer.status_code == 422
    assert "parquet is not installed here" in answer.text


async def test_an_agent_is_tested_and_its_usage_reported(served: Served, acme: str) -> None:
    async with StubServer() as stub:
        config = {"base_url": f"{stub.url}/v1", "default_model": "gpt-4.1-mini"}
        body = {"provider_type": "openai", "api_key": KEY, "config": config}
        await served.ask("POST", PROVIDERS, acme, json=body)
        agent = {"agent_id": "planner", "provider": "openai"}
        place = (await served.ask("POST", AGENTS, acme, json=agent)).headers["location"]
        called = await served.ask("POST", f"{place}/test", acme, json={"prompt": True})
        usage = await served.ask("GET", f"{place}/usage?by=agent&by=provider", acme)
        text = await served.ask("GET", "/api/v1/usage?by=agent&format=csv", acme)
    assert called.json()["result"] == "ok"
    assert [(row["agent"], row["provider"], row["calls"]) for row in usage.json()["rows"]] == [
        ("planner", "openai", 1)
    ]
    assert text.headers["content-type"] == "text/csv; charset=utf-8"
    assert text.text.splitlines()[1].startswith("planner,1,1,")


async def test_what_is_off_is_not_tested(served: Served, acme: str) -> None:
    added = await served.ask("POST", PROVIDERS, acme, json=CLAUDE)
    place = added.headers["location"]
    await served.ask("PUT", place, acme, json={"is_active": False})
    answer = await served.ask("POST", f"{place}/test", acme)
    assert answer.status_code == 409


async def test_a_token_made_over_rest_holds_until_it_is_revoked(served: Served, acme: str) -> None:
    made = await served.ask("POST", "/api/v1/tokens", acme, json={"scopes": ["read"], "name": "ci"})
    token, place = made.json()["token"], made.headers["location"]
    before = await served.ask("GET", PROVIDERS, token)
    beyond = await served.ask("POST", PROVIDERS, token, json=CLAUDE)
    revoked = await served.ask("DELETE", place, acme)
    listed = await served.ask("GET", "/api/v1/tokens", acme)
    assert (made.status_code, before.status_code, beyond.status_code) == (201, 200, 403)
    assert revoked.status_code == 204
    assert [row["name"] for row in listed.json()["items"]] == ["", "ci"]
    assert listed.json()["items"][1]["revoked_at"] is not None
    assert token not in listed.text


async def test_health_and_readiness_need_no_token_and_metrics_do(served: Served, acme: str) -> None:
    health = await served.ask("GET", "/healthz")
    ready = await served.ask("GET", "/readyz")
    refused = await served.ask("GET", "/metrics")
    metrics = await served.ask("GET", "/metrics", acme)
    assert health.json() == {"status": "ok"}
    assert ready.json() == {"status": "ok", "reasons": []}
    assert refused.status_code == 401
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "# TYPE orchestify_requests_total counter" in metrics.text


async def test_with_redis_away_the_service_is_ready_and_says_what_is_less(tmp_path: Path) -> None:
    async with serving(tmp_path, redis_url="redis://127.0.0.1:1/0") as served:
        ready = await served.ask("GET", "/readyz")
        added = await served.ask("POST", PROVIDERS, served.token("acme"), json=CLAUDE)
    assert ready.status_code == 200
    assert ready.json() == {
        "status": "degraded",
        "reasons": ["redis is away: rate limits hold for each process at its share"],
    }
    assert added.status_code == 201


async def test_an_unknown_parameter_is_refused_with_what_was_meant(
    served: Served, acme: str
) -> None:
    answer = await served.ask("GET", "/api/v1/usage?sicne=7d", acme)
    assert answer.status_code == 422
    assert answer.json()["problems"] == ["query: unknown parameter; did you mean 'since'?"]


async def test_every_answer_keeps_browsers_from_misusing_it(served: Served, acme: str) -> None:
    answer = await served.ask("GET", PROVIDERS, acme)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers


async def test_no_example_of_the_document_is_refused(served: Served, acme: str) -> None:
    document = (await served.ask("GET", "/openapi.json")).json()
    schema = document["components"]["schemas"]["AddProviderRequest"]["properties"]
    body = {name: each["examples"][0] for name, each in schema.items() if "examples" in each}
    answer = await served.ask("POST", PROVIDERS, acme, json=body)
    assert answer.status_code == 201


async def test_while_nothing_is_booked_the_service_is_not_ready_and_has_it_mended(
    served: Served,
) -> None:
    backend = served.service.ledger._backend
    backend.writer.close()
    backend.writer = DeadlyWriter(backend.journal)
    backend.writer.start()
    await until(lambda: backend.writer.has_died)
    first, second = [await served.ask("GET", "/readyz") for _ in range(2)]
    assert (first.status_code, first.json()["detail"]) == (
        503,
        "the ledger's writer thread has died: records wait for another one",
    )
    assert (second.status_code, second.json()) == (200, {"status": "ok", "reasons": []})
