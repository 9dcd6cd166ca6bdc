"""Providers' batch APIs end to end: submitted, followed, fetched and cancelled, and booked once."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestify import ProviderRegistry, RunBudget, scope
from orchestify.core.config import parse_config
from orchestify.errors import (
    APIConnectionError,
    BatchStateError,
    BudgetExceededError,
    InvalidParameterError,
    InvalidRequestError,
    InvalidResponseError,
    ServerError,
)
from orchestify.events.events import BudgetThreshold
from orchestify.ledger.budgets.sql_store import lapse
from orchestify.ledger.sql.batch_rows import prune_batches
from orchestify.ledger.sql.ledger import SqlLedger
from orchestify.providers.shared import SharedParts
from orchestify.testing import Reply, StubRequest, StubServer
from tests.batches import PRICE, batch_config, batch_registry, fetched, prompts
from tests.ledgers import database, sqlite_rows, until
from tests.registries import registry_on

KINDS = ["openai", "anthropic"]
USER = {"role": "user", "content": "hello"}


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as running:
        yield running


def registry(
    server: StubServer, folder: Path, kind: str = "openai", **top: Any
) -> ProviderRegistry:
    """A registry as each process would open it; without a budget, if the test names none."""
    ledger = f"sqlite:///{folder}/usage.db"
    return batch_registry(server.url, ledger, kind, **({"budgets": []} | top))


def expire_lease(folder: Path, owner: str) -> None:
    """Let a lease run out, as the time that it lasts would."""
    with closing(sqlite3.connect(folder / "usage.db", timeout=30)) as connection:
        connection.execute(
            "UPDATE ledger_leases SET expires_at = '2020-01-01 00:00:00' WHERE owner = ?", (owner,)
        )
        connection.commit()


def records(folder: Path) -> list[tuple[Any, ...]]:
    """Outcome, model, tier, tokens and cost of every record, by id."""
    query = (
        "SELECT outcome, model, service_tier, input_tokens, output_tokens, cost_picousd "
        "FROM usage_records ORDER BY id"
    )
    return sqlite_rows(folder / "usage.db", query)


def everything_in(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.glob("usage.db*"))


def held(folder: Path) -> list[tuple[Any, ...]]:
    return sqlite_rows(folder / "usage.db", "SELECT amount_picousd FROM budget_holds")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_batch_goes_out_and_comes_back_to_another_process(
    server: StubServer, tmp_path: Path, kind: str
) -> None:
    async with registry(server, tmp_path, kind) as first:
        batch = await first.get_for_agent("writer").batch(prompts(3))
        assert (batch.state, batch.total, batch.provider) == ("running", 3, "main")
    async with registry(server, tmp_path, kind) as second:
        assert (await second.batches.status(batch.id)).state == "ended"
        results = await fetched(second, batch.id)
        assert [each.custom_id for each in results] == ["r0", "r1", "r2"]
        assert [each.response and each.response.content for each in results] == [
            "stub read 2 words."
        ] * 3
        assert (await second.batches.status(batch.id)).state == "fetched"


@pytest.mark.parametrize("kind", KINDS)
async def test_each_result_is_one_record_at_half_the_price(
    server: StubServer, tmp_path: Path, kind: str
) -> None:
    async with registry(server, tmp_path, kind) as on:
        batch = await on.get_for_agent("writer").batch(prompts(2))
        results = await fetched(on, batch.id)
    # 5 tokens in at 1 USD a million, 5 out at 5 USD
    assert [each.response and each.response.cost_usd for each in results] == [
        Decimal("0.00003"),
        Decimal("0.00003"),
    ]
    assert records(tmp_path) == [("ok", "stub", "batch", 5, 5, 30_000_000)] * 2
    assert server.batches.billed.output_tokens == 10


async def test_reports_tell_what_a_batch_cost(server: StubServer, tmp_path: Path) -> None:
    async with registry(server, tmp_path) as on:
        writer = on.get_for_agent("writer")
        await writer.complete("hello 0")
        batch = await writer.batch(prompts(2))
        await fetched(on, batch.id)
        report = await on.usage(by="label:provider_batch")
        whole = await on.usage(by="agent")
    assert [(row.key, row.total.calls, row.total.cost_usd) for row in report.rows] == [
        ((batch.id,), 2, Decimal("0.00006"))
    ]
    assert whole.total.cost_usd == Decimal("0.00012")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_second_fetch_gives_the_results_and_books_nothing(
    server: StubServer, tmp_path: Path, kind: str
) -> None:
    async with registry(server, tmp_path, kind) as on:
        batch = await on.get_for_agent("writer").batch(prompts(3))
        once = await fetched(on, batch.id)
        again = await fetched(on, batch.id)
        report = await on.usage()
    assert [each.response and each.response.content for each in again] == [
        each.response and each.response.content for each in once
    ]
    assert (len(records(tmp_path)), report.total.calls) == (3, 3)


@pytest.mark.parametrize("kind", KINDS)
async def test_one_that_fails_is_an_error_and_costs_nothing(
    server: StubServer, tmp_path: Path, kind: str
) -> None:
    async with registry(server, tmp_path, kind) as on:
        batch = await on.get_for_agent("writer").batch(prompts(2))
        for waiting in server.batches.batches.values():  # as if the provider alone refused it
            waiting.requests = [
                (name, body if place == 0 else {**body, "messages": []})
                for place, (name, body) in enumerate(waiting.requests)
            ]
        results = await fetched(on, batch.id)
    assert [each.custom_id for each in results] == ["r0", "r1"]
    assert isinstance(results[1].error, InvalidRequestError)
    assert [row[0] for row in records(tmp_path)] == ["ok", "failed"]
    assert [row[-1] for row in records(tmp_path)] == [30_000_000, 0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("ending", "outcome"), [("expired", "failed"), ("cancelled", "cancelled")])
async def test_a_batch_that_ends_early_books_what_was_done(
    server: StubServer, tmp_path: Path, kind: str, ending: Any, outcome: str
) -> None:
    budget = {"name": "all", "limit_usd": 1, "period": "ever"}
    server.batches.holds = True
    async with registry(server, tmp_path, kind, budgets=[budget]) as on:
        batch = await on.get_for_agent("writer").batch(prompts(4))
        server.batches.end(ending, done=1)
        results = await fetched(on, batch.id)
        (state,) = on.budgets()
    assert [type(each.error).__name__ for each in results[1:]] == ["BatchStateError"] * 3
    assert [getattr(each.error, "state", "") for each in results[1:]] == [ending] * 3
    assert [row[0] for row in records(tmp_path)] == ["ok", outcome, outcome, outcome]
    assert (state.spent_usd, state.held_usd, state.possible_usd) == (Decimal("0.00003"), 0, 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_ends_a_batch_and_what_it_holds(
    server: StubServer, tmp_path: Path, kind: str
) -> None:
    server.batches.holds = True
    budget = {"name": "all", "limit_usd": 1, "period": "ever"}
    async with registry(server, tmp_path, kind, budgets=[budget]) as on:
        batch = await on.get_for_agent("writer").batch(prompts(2))
        assert (await on.batches.cancel(batch.id)).status in ("cancelling", "canceling")
        results = await fetched(on, batch.id)
        (state,) = on.budgets()
        with pytest.raises(BatchStateError, match="is fetched"):
            await on.batches.cancel(batch.id)
    assert [each.response for each in results] == [None, None]
    assert (state.spent_usd, state.held_usd) == (0, 0)


async def test_a_running_batch_cannot_be_fetched(server: StubServer, tmp_path: Path) -> None:
    server.batches.holds = True
    async with registry(server, tmp_path) as on:
        batch = await on.get_for_agent("writer").batch(prompts(2))
        with pytest.raises(BatchStateError, match=r"in_progress, 0 of 2 requests done"):
            await fetched(on, batch.id)


async def test_the_worst_case_is_held_until_the_batch_is_fetched(
    server: StubServer, tmp_path: Path
) -> None:
    budget = {"name": "all", "limit_usd": 1, "period": "ever"}
    async with registry(server, tmp_path, budgets=[budget]) as on:
        batch = await on.get_for_agent("writer").batch(prompts(2))
    async with registry(server, tmp_path, budgets=[budget]) as other:
        (state,) = other.budgets()
        # twice 11 tokens in at 1 USD a million, and 100 out at 5 USD
        assert (state.held_usd, state.held_calls) == (Decimal("0.001022"), 2)
        assert batch.at_most_usd == Decimal("0.001022")
        await fetched(other, batch.id)
        (state,) = other.budgets()
        assert (state.held_usd, state.spent_usd, state.spent_calls) == (0, Decimal("0.00006"), 2)
    assert held(tmp_path) == []


async def test_what_has_no_room_is_refused_with_the_sum_and_nothing_is_sent(
    server: StubServer, tmp_path: Path
) -> None:
    budget = {"name": "small", "limit_usd": 0.001, "period": "ever"}
    async with registry(server, tmp_path, budgets=[budget]) as on:
        with pytest.raises(BudgetExceededError, match=r"the batch may cost 0\.001022") as refused:
            await on.get_for_agent("writer").batch(prompts(2))
        assert refused.value.worst_case_usd == Decimal("0.001022")
        assert await on.batches.all() == []
        await on.get_for_agent("writer").batch(prompts(1))
    assert [request.path for request in server.requests] == ["/v1/files", "/v1/batches"]


async def test_requests_without_a_price_are_refused_where_a_budget_says_so(
    server: StubServer, tmp_path: Path
) -> None:
    on = registry_on(
        server,
        {"main": {"default_model": "nobody-knows-it"}},
        ledger={"url": f"sqlite:///{tmp_path}/usage.db"},
        budgets=[{"name": "all", "limit_usd": 1, "period": "ever"}],
    )
    async with on:
        with pytest.raises(BudgetExceededError, match="price is unknown"):
            await on.get("main").batch(prompts(1))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_lost_answer_is_found_again_and_nothing_is_sent_twice(
    server: StubServer, tmp_path: Path, kind: str
) -> None:
    server.batches.script("create", Reply(reset=True))
    async with registry(server, tmp_path, kind) as on:
        writer = on.get_for_agent("writer")
        with pytest.raises(BatchStateError, match="was lost") as lost:
            await writer.batch(prompts(3))
        server.batches.end()
        again = await writer.batch(prompts(3))
        assert (again.id, again.state) == (lost.value.batch_id, "ended")
        assert len(await fetched(on, again.id)) == 3
    assert (len(server.batches.batches), len(records(tmp_path))) == (1, 3)


async def test_other_requests_are_no_second_submission(server: StubServer, tmp_path: Path) -> None:
    server.batches.script("create", Reply(reset=True))
    async with registry(server, tmp_path) as on:
        writer = on.get_for_agent("writer")
        with pytest.raises(BatchStateError) as lost:
            await writer.batch(prompts(3))
        other = await writer.batch(prompts(2))
        assert other.id != lost.value.batch_id
    assert len(server.batches.batches) == 2


async def test_one_that_runs_at_a_provider_without_metadata_is_unsure_until_it_ends(
    server: StubServer, tmp_path: Path
) -> None:
    server.batches.holds = True
    server.batches.script("create", Reply(reset=True))
    async with registry(server, tmp_path, "anthropic") as on:
        writer = on.get_for_agent("writer")
        with pytest.raises(BatchStateError) as lost:
            await writer.batch(prompts(3))
        with pytest.raises(BatchStateError, match="does not yet say"):
            await writer.batch(prompts(3))
        assert (await on.batches.status(lost.value.batch_id)).state == "submitting"
        server.batches.end()
        assert (await on.batches.status(lost.value.batch_id)).state == "ended"
    assert len(server.batches.batches) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refused_submission_holds_nothing(
    server: StubServer, tmp_path: Path, kind: str
) -> None:
    budget = {"name": "all", "limit_usd": 1, "period": "ever"}
    server.batches.script("create", Reply(status=400, error="no"))
    async with registry(server, tmp_path, kind, budgets=[budget]) as on:
        with pytest.raises(InvalidRequestError):
            await on.get_for_agent("writer").batch(prompts(2))
        (batch,) = await on.batches.all()
        assert batch.state == "refused"
        with pytest.raises(BatchStateError, match="was never made"):
            await fetched(on, batch.id)
    assert (held(tmp_path), server.batches.files) == ([], {})


async def test_a_failed_upload_makes_no_batch(server: StubServer, tmp_path: Path) -> None:
    server.batches.script("upload", Reply(status=503))
    async with registry(server, tmp_path) as on:
        with pytest.raises(ServerError):
            await on.get_for_agent("writer").batch(prompts(2))
        assert [each.state for each in await on.batches.all()] == ["refused"]
    assert server.batches.batches == {}


async def test_a_provider_that_was_never_reached_has_no_batch(tmp_path: Path) -> None:
    gone = StubServer(port=9)
    async with registry(gone, tmp_path) as on:
        with pytest.raises(APIConnectionError):
            await on.get_for_agent("writer").batch(prompts(2))
        assert [each.state for each in await on.batches.all()] == ["not_sent"]


@pytest.mark.parametrize("kind", KINDS)
async def test_results_that_break_off_are_fetched_again(
    server: StubServer, tmp_path: Path, kind: str
) -> None:
    async with registry(server, tmp_path, kind) as on:
        batch = await on.get_for_agent("writer").batch(prompts(4))
        server.batches.script("results", Reply(cut_after=0), Reply(eof_after=0))
        with pytest.raises(APIConnectionError):
            await fetched(on, batch.id)
        with pytest.raises(InvalidResponseError):
            await fetched(on, batch.id)
        assert len(await fetched(on, batch.id)) == 4
    assert [row[0] for row in records(tmp_path)] == ["ok"] * 4


async def test_a_batch_that_the_provider_finds_unusable_costs_nothing(
    server: StubServer, tmp_path: Path
) -> None:
    server.batches.holds = True
    async with registry(server, tmp_path) as on:
        batch = await on.get_for_agent("writer").batch(prompts(2))
        server.batches.end("failed", done=0)
        results = await fetched(on, batch.id)
    assert "invalid_json_line (line 1)" in str(results[0].error)
    assert [row[-1] for row in records(tmp_path)] == [0, 0]


async def test_the_file_of_requests_is_deleted_once_the_batch_is_fetched(
    server: StubServer, tmp_path: Path
) -> None:
    async with registry(server, tmp_path) as on:
        batch = await on.get_for_agent("writer").batch(prompts(2))
        assert len(server.batches.files) == 1
        await fetched(on, batch.id)
    assert [*server.batches.files] == [f"file-output-{batch.remote_id}"]


async def test_nothing_of_the_requests_or_answers_is_kept(
    server: StubServer, tmp_path: Path
) -> None:
    async with registry(server, tmp_path) as on:
        requests = [{"custom_id": "a", "prompt": "the pelican is blue"}]
        batch = await on.get_for_agent("writer").batch(requests, model="stub;text=a+secret+answer")
        await fetched(on, batch.id)
    stored = everything_in(tmp_path)
    assert b"pelican" not in stored
    assert b"a secret answer" not in stored


async def test_a_ledger_in_memory_is_refused_with_the_reason(server: StubServer) -> None:
    async with registry_on(server, {"main": {}}) as on:
        with pytest.raises(InvalidParameterError, match=r"set ledger\.url"):
            await on.get("main").batch(prompts(1))
    assert len(server.requests) == 0


async def test_a_provider_without_a_batch_api_says_what_to_do(tmp_path: Path) -> None:
    on = ProviderRegistry.from_config(
        {
            "providers": {"made_up": {"type": "mock", "default_model": "m"}},
            "ledger": {"url": f"sqlite:///{tmp_path}/usage.db"},
        }
    )
    async with on:
        with pytest.raises(InvalidParameterError, match=r"no batch API.*orchestify batch run"):
            await on.get("made_up").batch(prompts(1))


async def test_an_address_that_turns_out_to_have_no_batches_says_what_to_do(
    server: StubServer, tmp_path: Path
) -> None:
    server.batches.script("upload", Reply(status=404))
    async with registry(server, tmp_path) as on:
        with pytest.raises(InvalidParameterError, match=r"status 404.*orchestify batch run"):
            await on.get_for_agent("writer").batch(prompts(1))


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ([], "there are no requests"),
        (["a", {"prompt": "b", "fallback": ["other"]}], r"requests\[1\]: nothing falls back"),
        ([{"prompt": "a", "timeout_s": 3}], r"requests\[0\]: timeout_s"),
        (prompts(1) * 2, r"requests\[1\]: its custom_id"),
        ([*prompts(1), {"prompt": "b", "model": "other"}], r"requests\[1\]: .* one model a batch"),
    ],
)
async def test_what_cannot_be_a_batch_is_refused_at_its_place(
    server: StubServer, tmp_path: Path, requests: Any, said: str
) -> None:
    async with registry(server, tmp_path) as on:
        with pytest.raises(InvalidParameterError, match=said):
            await on.get_for_agent("writer").batch(requests)
    assert len(server.requests) == 0


async def test_models_may_differ_where_the_provider_takes_that_and_count_apart(
    server: StubServer, tmp_path: Path
) -> None:
    budget = {"name": "large", "limit_usd": 1, "period": "ever", "match": {"model": "large"}}
    async with registry(server, tmp_path, "anthropic", budgets=[budget]) as on:
        requests = [*prompts(2), {"custom_id": "l", "prompt": "hello 9", "model": "large"}]
        batch = await on.get_for_agent("writer").batch(requests)
        (state,) = on.budgets()
        assert state.held_calls == 1
        await fetched(on, batch.id)
        (state,) = on.budgets()
        assert (state.held_calls, state.spent_calls) == (0, 1)
    assert sorted(row[1] for row in records(tmp_path)) == ["large", "stub", "stub"]


async def test_a_batch_that_nobody_fetches_counts_as_possibly_spent_until_somebody_does(
    server: StubServer, tmp_path: Path
) -> None:
    budget = {"name": "all", "limit_usd": 1, "period": "ever"}
    async with registry(server, tmp_path, budgets=[budget]) as on:
        batch = await on.get_for_agent("writer").batch(prompts(2))
        expire_lease(tmp_path, batch.id)
        lapsed = database(f"sqlite:///{tmp_path}/usage.db", tmp_path).run(lambda c: lapse(c, 100))
        assert lapsed <= 1  # the ledger's own thread may have been first
        (state,) = on.budgets()
        assert (state.held_usd, state.possible_usd) == (0, Decimal("0.001022"))
        await fetched(on, batch.id)
        (state,) = on.budgets()
        assert (state.held_usd, state.possible_usd, state.possible_calls) == (0, 0, 0)
        assert (state.spent_usd, state.spent_calls) == (Decimal("0.00006"), 2)


async def test_a_batch_outlives_the_leases_of_processes(server: StubServer, tmp_path: Path) -> None:
    budget = {"name": "all", "limit_usd": 1, "period": "ever"}
    async with registry(server, tmp_path, budgets=[budget]) as on:
        await on.get_for_agent("writer").batch(prompts(2))
    assert database(f"sqlite:///{tmp_path}/usage.db", tmp_path).run(lambda c: lapse(c, 100)) == 0
    assert held(tmp_path) == [(1_022_000_000,)]


async def test_two_that_fetch_at_once_book_once(server: StubServer, tmp_path: Path) -> None:
    budget = {"name": "all", "limit_usd": 1, "period": "ever"}
    async with (
        registry(server, tmp_path, budgets=[budget]) as one,
        registry(server, tmp_path, budgets=[budget]) as other,
    ):
        batch = await one.get_for_agent("writer").batch(prompts(20))
        both = await asyncio.gather(fetched(one, batch.id), fetched(other, batch.id))
        (state,) = one.budgets()
        report = await one.usage()
    assert [len(each) for each in both] == [20, 20]
    assert (len(records(tmp_path)), report.total.calls) == (20, 20)
    assert (state.spent_usd, state.spent_calls, state.held_calls) == (Decimal("0.0006"), 20, 0)


async def test_a_fetched_batch_reports_the_thresholds_it_crosses(
    server: StubServer, tmp_path: Path
) -> None:
    budget = {"name": "all", "limit_usd": 0.1, "period": "ever", "alert_at": [0.0005]}
    told: list[BudgetThreshold] = []
    async with registry(server, tmp_path, budgets=[budget]) as on:
        on.on(told.append, BudgetThreshold)
        batch = await on.get_for_agent("writer").batch(prompts(2))
        await fetched(on, batch.id)
        await until(lambda: len(told) == 1)
    assert (told[0].budget, told[0].spent_usd) == ("all", Decimal("0.00006"))


async def test_a_rolling_budget_counts_a_batch_when_it_is_fetched(
    server: StubServer, tmp_path: Path
) -> None:
    budget = {"name": "all", "limit_usd": 1, "period": "rolling_24h"}
    async with registry(server, tmp_path, budgets=[budget]) as on:
        batch = await on.get_for_agent("writer").batch(prompts(2))
        (state,) = on.budgets()
        assert state.held_usd == Decimal("0.001022")
        await fetched(on, batch.id)
        (state,) = on.budgets()
    assert (state.held_usd, state.spent_usd) == (0, Decimal("0.00006"))


async def test_a_batch_settles_in_a_budget_that_is_configured_no_more(
    server: StubServer, tmp_path: Path
) -> None:
    budget = {"name": "all", "limit_usd": 1, "period": "ever"}
    async with registry(server, tmp_path, budgets=[budget]) as on:
        batch = await on.get_for_agent("writer").batch(prompts(2))
    async with registry(server, tmp_path) as other:
        await fetched(other, batch.id)
    query = "SELECT spent_picousd FROM budget_periods"
    assert (sqlite_rows(tmp_path / "usage.db", query), held(tmp_path)) == ([(60_000_000,)], [])


async def test_what_lapsed_in_part_is_settled_in_full(server: StubServer, tmp_path: Path) -> None:
    budget = {"name": "all", "limit_usd": 100, "period": "ever"}
    async with registry(server, tmp_path, budgets=[budget]) as on:
        batch = await on.get_for_agent("writer").batch(prompts(600))
        async with aclosing(on.batches.fetch(batch.id)) as results:
            await anext(results)  # 500 are booked together
        expire_lease(tmp_path, batch.id)
        database(f"sqlite:///{tmp_path}/usage.db", tmp_path).run(lambda c: lapse(c, 100))
        (state,) = on.budgets()
        assert (state.held_calls, state.spent_calls, state.possible_calls) == (0, 500, 100)
        assert len(await fetched(on, batch.id)) == 600
        (state,) = on.budgets()
    assert (state.held_calls, state.spent_calls, state.possible_calls) == (0, 600, 0)
    assert (state.held_usd, state.possible_usd) == (0, 0)


async def test_a_scopes_budget_and_labels_go_with_a_batch(
    server: StubServer, tmp_path: Path
) -> None:
    requests = [
        *prompts(1),
        {"custom_id": "m", "body": {"messages": [USER], "metadata": {"team": "blue"}}},
    ]
    async with registry(server, tmp_path) as on:
        with scope(run="r1", budget=RunBudget(usd=1)):
            batch = await on.get_for_agent("writer").batch(requests)
            (state,) = on.budgets()
            assert state.held_calls == 2
        await fetched(on, batch.id)
        with scope(run="r1", budget=RunBudget(usd=1)):
            (state,) = on.budgets()
            assert (state.held_calls, state.spent_calls) == (0, 2)
        by_run = await on.usage(by="label:run")
        by_team = await on.usage(by="label:team")
    assert [(row.key, row.total.calls) for row in by_run.rows] == [(("r1",), 2)]
    assert [(row.key, row.total.calls) for row in by_team.rows] == [(("blue",), 1)]


async def test_a_scopes_budget_has_no_room_for_a_batch(server: StubServer, tmp_path: Path) -> None:
    async with registry(server, tmp_path) as on:
        with (
            scope(run="r1", budget=RunBudget(calls=2)),
            pytest.raises(BudgetExceededError, match=r"2 of 2 calls left, the batch has 3"),
        ):
            await on.get_for_agent("writer").batch(prompts(3))


async def test_responses_are_left_to_the_batch_api_as_well(
    server: StubServer, tmp_path: Path
) -> None:
    main = {"default_model": "stub", "api": "responses", "price": PRICE}
    ledger = {"url": f"sqlite:///{tmp_path}/usage.db"}
    async with registry_on(server, {"main": main}, ledger=ledger) as on:
        batch = await on.get("main").batch(prompts(1))
        (result,) = await fetched(on, batch.id)
    assert [each.url for each in server.batches.batches.values()] == ["/v1/responses"]
    assert result.response is not None
    assert result.response.content == "stub read 2 words."


async def test_a_batch_stays_with_the_key_that_it_went_out_with(
    server: StubServer, tmp_path: Path
) -> None:
    main = {"default_model": "stub", "api_key": None, "api_keys": ["key-one", "key-two"]}
    ledger = {"url": f"sqlite:///{tmp_path}/usage.db"}
    providers = {"main": main | {"spread": "least_used"}}
    async with registry_on(server, providers, ledger=ledger) as on:
        batches = [await on.get("main").batch(prompts(1)) for _ in range(2)]
        for batch in batches:
            await fetched(on, batch.id)
    by_id: dict[str, set[str]] = {}
    for request in server.requests:
        for batch in batches:
            if batch.remote_id in request.path:
                by_id.setdefault(batch.id, set()).add(request.headers["Authorization"])
    assert sorted(map(sorted, by_id.values())) == [["Bearer key-one"], ["Bearer key-two"]]


async def test_tenants_do_not_see_each_others_batches(server: StubServer, tmp_path: Path) -> None:
    ledger = SqlLedger(database("sqlite:///usage.db", tmp_path))
    config = parse_config(json.dumps(batch_config(server.url, "sqlite:///unused.db")))
    one, other = (
        ProviderRegistry.assemble(config, SharedParts(ledger=ledger.for_tenant(name)))
        for name in ("one", "other")
    )
    batch = await one.get_for_agent("writer").batch(prompts(1))
    assert await other.batches.all() == []
    with pytest.raises(BatchStateError, match="there is no batch"):
        await fetched(other, batch.id)
    await fetched(one, batch.id)
    report = await ledger.usage(by="tenant")
    for each in (one, other, ledger):
        await each.aclose()
    assert [row.key for row in report.rows] == [("one",)]


async def test_a_process_that_was_given_up_while_it_slept_cancels_what_it_made(
    server: StubServer, tmp_path: Path
) -> None:
    server.batches.holds = True
    async with registry(server, tmp_path) as on:

        def give_up(request: StubRequest) -> None:
            if request.path == "/v1/batches" and request.method == "POST":
                with closing(sqlite3.connect(tmp_path / "usage.db", timeout=30)) as connection:
                    connection.execute("UPDATE provider_batches SET state = 'not_sent'")
                    connection.commit()

        server.respond = give_up
        with pytest.raises(BatchStateError, match="given up by another process"):
            await on.get_for_agent("writer").batch(prompts(1))
    assert [each.is_cancelling for each in server.batches.batches.values()] == [True]


async def test_results_without_end_are_broken_off(server: StubServer, tmp_path: Path) -> None:
    async with registry(server, tmp_path) as on:
        batch = await on.get_for_agent("writer").batch(prompts(2))
        await on.batches.status(batch.id)
        name = f"file-output-{batch.remote_id}"
        filename, content = server.batches.files[name]
        server.batches.files[name] = (filename, content + b'{"custom_id": "x"}\n' * 50)
        with pytest.raises(InvalidResponseError, match="fetch it again"):
            await fetched(on, batch.id)


async def test_a_line_that_cannot_be_read_is_possibly_spent(
    server: StubServer, tmp_path: Path
) -> None:
    budget = {"name": "all", "limit_usd": 1, "period": "ever"}
    async with registry(server, tmp_path, budgets=[budget]) as on:
        batch = await on.get_for_agent("writer").batch(prompts(2))
        await on.batches.status(batch.id)
        name = f"file-output-{batch.remote_id}"
        filename, content = server.batches.files[name]
        lines = content.splitlines()
        server.batches.files[name] = (filename, lines[0][:-9] + b"\n" + lines[1] + b"\n")
        results = await fetched(on, batch.id)
        (state,) = on.budgets()
    assert [type(each.error).__name__ for each in results] == ["NoneType", "InvalidResponseError"]
    assert (state.spent_usd, state.possible_usd, state.held_usd) == (
        Decimal("0.00003"),
        Decimal("0.000511"),
        0,
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_a_lost_batch_is_found_behind_many_others(
    server: StubServer, tmp_path: Path, kind: str
) -> None:
    async with registry(server, tmp_path, kind) as on:
        server.batches.script("create", Reply(reset=True))
        with pytest.raises(BatchStateError) as lost:
            await on.get_for_agent("writer").batch(prompts(1))
        (made,) = server.batches.batches.values()
        for number in range(250):
            name = f"{made.id}{number}"
            server.batches.batches[name] = replace(made, id=name, metadata={}, ending="failed")
        server.batches.end()
        assert (await on.batches.status(lost.value.batch_id)).remote_id == made.id


async def test_batches_are_deleted_after_forty_days(server: StubServer, tmp_path: Path) -> None:
    async with registry(server, tmp_path) as on:
        old = await on.get_for_agent("writer").batch(prompts(2))
        new = await on.get_for_agent("writer").batch(prompts(1))
        with closing(sqlite3.connect(tmp_path / "usage.db", timeout=30)) as connection:
            connection.execute(
                "UPDATE provider_batches SET submitted_at = '2020-01-01 00:00:00' WHERE id = ?",
                (old.id,),
            )
            connection.commit()
        database(f"sqlite:///{tmp_path}/usage.db", tmp_path).run(prune_batches)
        assert [each.id for each in await on.batches.all()] == [new.id]
    query = "SELECT DISTINCT batch_id FROM provider_batch_requests"
    assert sqlite_rows(tmp_path / "usage.db", query) == [(new.id,)]


async def test_a_batch_that_was_found_meanwhile_is_not_given_up(
    server: StubServer, tmp_path: Path
) -> None:
    budget = {"name": "all", "limit_usd": 1, "period": "ever"}
    async with registry(server, tmp_path, budgets=[budget]) as on:
        batch = await on.get_for_agent("writer").batch(prompts(2))
        store = SqlLedger(database("sqlite:///usage.db", tmp_path)).batch_store()
        await store.give_up(batch.id, "not_sent")
        assert [each.state for each in await on.batches.all()] == ["running"]
        (state,) = on.budgets()
        assert state.held_calls == 2
