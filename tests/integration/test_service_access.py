from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from orchestify.server.access.authentication import OUTAGE_S
from orchestify.server.app import create_app
from orchestify.server.storage.audit import SYSTEM
from orchestify.testing import StubServer
from tests.ledgers import sqlite_rows
from tests.servers import PROVIDERS, Served, holds, serving

OLLAMA = {"provider_type": "ollama", "config": {"default_model": "llama3"}}
FORGED = f"ork_{'0' * 32}_{'0' * 64}"


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as each:
        yield each


def audited(folder: Path, condition: str) -> list[tuple[str, ...]]:
    columns = "tenant_id, actor, action, target, outcome, remote, detail"
    query = f"SELECT {columns} FROM audit_log WHERE {condition} ORDER BY id"  # noqa: S608 - ours
    return sqlite_rows(folder / ".orchestify/service.db", query)


async def test_without_any_token_loopback_is_open_as_the_tenant_default(
    served: Served, tmp_path: Path
) -> None:
    answer = await served.ask("POST", PROVIDERS, json=OLLAMA)
    assert answer.status_code == 201
    assert [row[:3] for row in audited(tmp_path, "action = 'provider.add'")] == [
        ("default", "open", "provider.add")
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "attacker.example"},
        {"host": "attacker.example:8000"},
        {"host": "127.0.0.1.attacker.example"},
        {"host": ""},
        {"origin": "https://attacker.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
    ],
    ids=str,
)
async def test_open_access_refuses_foreign_hosts_and_origins(
    served: Served, tmp_path: Path, headers: dict[str, str]
) -> None:
    answer = await served.ask("GET", PROVIDERS, headers=headers)
    assert answer.status_code == 403
    assert [row[1:5] for row in audited(tmp_path, "action = 'access'")] == [
        ("unknown", "access", f"GET {PROVIDERS}", "refused")
    ]


@pytest.mark.parametrize("host", ["localhost:9", "127.0.0.1", "127.1.2.3:80", "[::1]:8000"])
async def test_open_access_takes_the_names_of_this_machine(served: Served, host: str) -> None:
    headers = {"host": host, "origin": f"http://{host}"}
    assert (await served.ask("GET", PROVIDERS, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP"],
)
async def test_open_access_serves_nothing_that_was_forwarded(
    served: Served, tmp_path: Path, header: str
) -> None:
    answer = await served.ask("GET", PROVIDERS, headers={header: "127.0.0.1"})
    assert answer.status_code == 403
    assert "through no proxy" in answer.text
    assert [row[4] for row in audited(tmp_path, "action = 'access'")] == ["refused"]


@pytest.mark.parametrize(
    ("remote", "status"),
    [("127.0.0.1", 200), ("127.9.9.9", 200), ("::1", 200), ("192.0.2.7", 403), ("", 403)],
)
async def test_open_access_serves_this_machine_only(
    served: Served, remote: str, status: int
) -> None:
    app = httpx.ASGITransport(create_app(served.service), client=(remote, 1))
    async with httpx.AsyncClient(transport=app, base_url="http://localhost") as client:
        assert (await client.get(PROVIDERS)).status_code == status


async def test_behind_a_proxy_a_token_is_needed_though_there_is_none(tmp_path: Path) -> None:
    async with serving(tmp_path, proxies=("127.0.0.1",)) as behind:
        assert (await behind.ask("GET", PROVIDERS)).status_code == 401


async def test_behind_a_proxy_tenants_do_not_reach_this_machine(tmp_path: Path) -> None:
    near = {"provider_type": "openai", "api_key": "k", "config": {"base_url": "http://127.0.0.1:9"}}
    async with serving(tmp_path, proxies=("127.0.0.1",)) as behind:
        answer = await behind.ask("POST", PROVIDERS, behind.token("acme"), json=near)
    assert answer.status_code == 422
    assert "--allow-endpoint 127.0.0.1:9" in answer.text


async def test_the_first_token_closes_the_door_within_a_second(served: Served) -> None:
    assert (await served.ask("GET", PROVIDERS)).status_code == 200
    token = served.token("acme")

    async def is_closed() -> bool:
        return (await served.ask("GET", PROVIDERS)).status_code == 401

    await holds(is_closed)
    assert (await served.ask("GET", PROVIDERS, token)).status_code == 200


async def test_the_first_token_is_its_tenants_at_once_though_the_door_was_open_a_moment_ago(
    served: Served,
) -> None:
    assert (await served.ask("GET", PROVIDERS)).status_code == 200
    token = served.token("acme", "read")
    assert (await served.ask("POST", PROVIDERS, token, json=OLLAMA)).status_code == 403


async def test_a_revoked_token_ends_within_a_second_and_its_tenant_stays_closed(
    served: Served,
) -> None:
    row, token = served.service.tokens.create("acme", ["admin"], actor=SYSTEM)
    text = token.get_secret_value()
    assert (await served.ask("GET", PROVIDERS, text)).status_code == 200
    served.service.tokens.revoke(row.id, actor=SYSTEM)

    async def is_refused() -> bool:
        return (await served.ask("GET", PROVIDERS, text)).status_code == 401

    await holds(is_refused)
    assert (await served.ask("GET", PROVIDERS)).status_code == 401


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "no token"),
        ("Basic YTpi", "no token"),
        ("Bearer", "no token"),
        ("Bearer sk-something-else", "no such token"),
        (f"Bearer {FORGED}", "no such token"),
        (f"Bearer {FORGED} and more", "no such token"),
    ],
    ids=str,
)
async def test_what_is_no_token_is_refused_and_audited_without_it(
    served: Served, tmp_path: Path, header: str | None, reason: str
) -> None:
    served.token("acme")
    headers = {} if header is None else {"authorization": header}
    answer = await served.ask("GET", PROVIDERS, headers=headers)
    (row,) = audited(tmp_path, "action = 'access'")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="orchestify"'
    assert row[:6] == (None, "unknown", "access", f"GET {PROVIDERS}", "refused", "127.0.0.1")
    assert reason in row[6]
    assert "something-else" not in row[6]


async def test_a_wrong_secret_is_audited_for_the_token_s_tenant(
    served: Served, tmp_path: Path
) -> None:
    row, token = served.service.tokens.create("acme", ["admin"], actor=SYSTEM)
    forged = token.get_secret_value()[:-4] + "0000"
    answer = await served.ask("GET", PROVIDERS, forged)
    (entry,) = audited(tmp_path, "action = 'access'")
    assert answer.status_code == 401
    assert entry[:2] == ("acme", "unknown")
    assert f"a wrong secret for token {row.id}" in entry[6]


async def test_a_scope_that_is_lacking_is_audited_with_the_token(
    served: Served, tmp_path: Path
) -> None:
    row, token = served.service.tokens.create("acme", ["read"], actor=SYSTEM)
    place = f"{PROVIDERS}/some-row"
    answer = await served.ask("DELETE", place, token.get_secret_value())
    assert answer.status_code == 403
    assert [entry[:5] for entry in audited(tmp_path, "action = 'access'")] == [
        ("acme", f"token:{row.id}", "access", f"DELETE {PROVIDERS}/{{id}}", "refused")
    ]


async def test_repeated_refusals_are_one_entry_and_then_a_number(
    served: Served, tmp_path: Path
) -> None:
    served.token("acme")
    for _ in range(20):
        await served.ask("GET", PROVIDERS, FORGED)
    at_once = audited(tmp_path, "action = 'access'")
    await served.service.denied_requests.flush()
    counted = audited(tmp_path, "action = 'access'")
    assert len(at_once) == 1
    assert '"times": 1' in at_once[0][6]
    assert len(counted) == 2
    assert '"times": 19' in counted[1][6]


async def test_refusals_of_endless_kinds_do_not_fill_the_disk(
    served: Served, tmp_path: Path
) -> None:
    served.token("acme")
    proxied = [f"198.51.{part}.{each}" for part in range(2) for each in range(100)]
    async with serving(tmp_path, proxies=("127.0.0.1",)) as behind, behind.client() as client:
        for remote in proxied:
            await client.get(PROVIDERS, headers={"x-forwarded-for": remote})
    rows = audited(tmp_path, "action = 'access'")
    assert len(rows) == 102
    assert rows[0][5] == "198.51.0.0"
    assert "more than 100 kinds" in rows[100][6]
    assert '"times": 99' in rows[101][6]


async def test_who_asks_is_not_believed_from_a_header_without_a_proxy(
    served: Served, tmp_path: Path
) -> None:
    served.token("acme")
    await served.ask("GET", PROVIDERS, headers={"x-forwarded-for": "198.51.100.7"})
    assert [row[5] for row in audited(tmp_path, "action = 'access'")] == ["127.0.0.1"]


async def test_too_many_requests_of_a_token_are_429_and_do_not_touch_another_token(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, requests_per_minute=5) as served:
        token, other = served.token("acme"), served.token("acme")
        answers = [await served.ask("GET", PROVIDERS, token) for _ in range(6)]
        unaffected = await served.ask("GET", PROVIDERS, other)
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[5].headers["retry-after"] == "12"
    assert answers[5].json()["type"] == "urn:orchestify:problem:too-many-requests"
    assert unaffected.status_code == 200


async def test_who_guesses_tokens_is_slowed_down_and_who_has_one_is_not(served: Served) -> None:
    token = served.token("acme")
    assert (await served.ask("GET", PROVIDERS, token)).status_code == 200
    async with served.client(FORGED) as client:
        answers = [(await client.get(PROVIDERS)).status_code for _ in range(60)]
        while answers[-1] == 401 and len(answers) < 1_000:  # a place comes back each second
            answers.append((await client.get(PROVIDERS)).status_code)
    assert answers == [401] * (len(answers) - 1) + [429]
    assert (await served.ask("GET", PROVIDERS, token)).status_code == 200


async def test_with_the_database_away_only_tokens_that_were_good_come_in(
    served: Served, tmp_path: Path
) -> None:
    known, unknown = served.token("acme"), served.token("acme")
    await served.ask("GET", PROVIDERS, known)
    with closing(sqlite3.connect(tmp_path / ".orchestify/service.db")) as connection:
        connection.execute("ALTER TABLE api_tokens RENAME TO away")
        await asyncio.sleep(1.1)  # what was known of the token is fresh for a second
        answer = await served.ask("GET", PROVIDERS, unknown)
        assert (await served.ask("GET", PROVIDERS, known)).status_code == 200
        connection.execute("ALTER TABLE away RENAME TO api_tokens")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["type"] == "urn:orchestify:problem:unavailable"
    await asyncio.sleep(1.1)
    assert (await served.ask("GET", PROVIDERS, unknown)).status_code == 200


async def test_a_token_is_believed_for_minutes_of_an_outage_and_not_for_ever(
    served: Served, tmp_path: Path
) -> None:
    token, now = served.token("acme"), [0.0]
    authenticator = served.service.authenticator
    authenticator.clock = lambda: now[0]
    await served.ask("GET", PROVIDERS, token)
    with closing(sqlite3.connect(tmp_path / ".orchestify/service.db")) as connection:
        connection.execute("ALTER TABLE api_tokens RENAME TO away")
        statuses, believed = [], []
        for now[0] in (OUTAGE_S - 1, OUTAGE_S, OUTAGE_S + 2):
            statuses.append((await served.ask("GET", PROVIDERS, token)).status_code)
            believed.append(authenticator.trusts_known_tokens())
        connection.execute("ALTER TABLE away RENAME TO api_tokens")
    assert statuses == [200, 200, 503]
    assert believed == [True, True, False]


async def test_every_change_is_audited_with_who_when_what_and_from_where(
    served: Served, tmp_path: Path
) -> None:
    row, token = served.service.tokens.create("acme", ["admin"], actor=SYSTEM)
    text = token.get_secret_value()
    added = await served.ask("POST", PROVIDERS, text, json=OLLAMA)
    await served.ask("DELETE", added.headers["location"], text)
    made = await served.ask("POST", "/api/v1/tokens", text, json={"scopes": ["read"]})
    await served.ask("DELETE", made.headers["location"], text)
    read = await served.ask("GET", "/api/v1/audit?limit=4&since=1h", text)
    items = read.json()["items"]
    assert [each["action"] for each in items] == [
        "token.revoke",
        "token.create",
        "provider.remove",
        "provider.add",
    ]
    assert {(each["actor"], each["remote"], each["outcome"]) for each in items} == {
        (f"token:{row.id}", "127.0.0.1", "ok")
    }
    older = await served.ask("GET", f"/api/v1/audit?limit=4&after={read.json()['next']}", text)
    assert [each["action"] for each in older.json()["items"]] == ["token.create"]


async def test_the_secret_of_a_token_is_nowhere_in_the_database(
    served: Served, tmp_path: Path
) -> None:
    token = served.token("acme")
    await served.ask("GET", PROVIDERS, token)
    secret = token.rpartition("_")[2].encode()
    held = b"".join(path.read_bytes() for path in (tmp_path / ".orchestify").iterdir())
    assert secret not in held
    assert b"acme" in held


async def test_a_token_s_use_is_noted(served: Served) -> None:
    row, token = served.service.tokens.create("acme", ["read"], actor=SYSTEM)
    await served.ask("GET", PROVIDERS, token.get_secret_value())

    async def is_noted() -> bool:
        found = served.service.tokens.find(row.id)
        return found is not None and found.last_used_at is not None

    await holds(is_noted)


async def test_a_tenants_refusals_are_audited_beside_a_flood_of_others(
    served: Served, tmp_path: Path
) -> None:
    reader = served.token("acme", "read")
    proxied = [f"198.51.{part}.{each}" for part in range(2) for each in range(60)]
    async with serving(tmp_path, proxies=("127.0.0.1",)) as behind, behind.client() as client:
        for remote in proxied:
            await client.get(PROVIDERS, headers={"x-forwarded-for": remote})
        refused = await behind.ask("DELETE", f"{PROVIDERS}/some-row", reader)
        rows = audited(tmp_path, "tenant_id = 'acme' AND action = 'access'")
    assert refused.status_code == 403
    assert [row[3] for row in rows] == [f"DELETE {PROVIDERS}/{{id}}"]


async def test_a_tenants_tokens_have_a_pace_together(tmp_path: Path) -> None:
    async with serving(tmp_path, requests_per_minute=2) as served:
        tokens = [served.token("acme") for _ in range(30)]
        other = served.token("globex")
        answers = [
            (await served.ask("GET", PROVIDERS, token)).status_code
            for token in tokens
            for _ in range(2)
        ]
        unaffected = await served.ask("GET", PROVIDERS, other)
    assert answers[:20] == [200] * 20
    assert 429 in answers[20:]  # a place comes back every three seconds
    assert unaffected.status_code == 200


async def test_a_tenant_has_a_thousand_tokens_that_hold_and_no_more(
    served: Served, tmp_path: Path
) -> None:
    row, token = served.service.tokens.create("acme", ["admin"], actor=SYSTEM)
    with closing(sqlite3.connect(tmp_path / ".orchestify/service.db")) as connection:
        copied = "tenant_id, name, secret_hash, scopes, created_at"
        connection.execute(
            f"INSERT INTO api_tokens (id, {copied}) "  # noqa: S608 - ours
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999) "
            f"SELECT 'made-' || i, {copied} FROM api_tokens, n"
        )
        connection.commit()
    admin = token.get_secret_value()
    full = await served.ask("POST", "/api/v1/tokens", admin, json={"scopes": ["read"]})
    served.service.tokens.revoke("made-7", actor=SYSTEM)
    again = await served.ask("POST", "/api/v1/tokens", admin, json={"scopes": ["read"]})
    assert full.status_code == 409
    assert "1,000 tokens" in full.json()["detail"]
    assert again.status_code == 201
    assert served.token("globex")
    assert row.tenant_id == "acme"


async def test_a_token_that_writes_cannot_have_a_stored_key_sent_elsewhere(
    tmp_path: Path,
) -> None:
    stored = {"provider_type": "openai", "name": "prod", "api_key": "sk-stored"}
    async with StubServer() as attacker, serving(tmp_path) as served:
        admin, writer = served.token("acme"), served.token("acme", "write", "call")
        row = (await served.ask("POST", PROVIDERS, admin, json=stored)).json()["id"]
        place, config = f"{PROVIDERS}/{row}", {"base_url": attacker.openai_url}
        moved = await served.ask("PUT", place, writer, json={"config": config})
        again = {"config": config, "api_key": "sk-given"}
        given = await served.ask("PUT", place, writer, json=again)
        await served.ask("POST", f"{place}/test", writer)
        heard = [each.headers["Authorization"] for each in attacker.requests]
    assert moved.status_code == 422
    assert "the address changes; send the api_key again, or null" in moved.text
    assert given.status_code == 200
    assert heard == ["Bearer sk-given"]
