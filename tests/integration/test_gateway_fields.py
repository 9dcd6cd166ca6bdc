"""Fields of both protocols on their way to providers: files, tiers, marks, and what is held."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.gateways import CHAT, HELLO, WEATHER, Gateway, gateway

MESSAGES = "/v1/messages"
PDF = "JVBERi0xLjQK"
FILE = {
    "type": "file",
    "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
}
DOCUMENT = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
    "title": "a.pdf",
}
HOUR = {"type": "ephemeral", "ttl": "1h"}
PRICE = {"input_usd_per_mtok": 100, "output_usd_per_mtok": 1000}
AGENTS = {"cached": {"provider": "claude", "cache": True}}
BUDGET = {"name": "all", "limit_usd": 1000, "period": "ever"}


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    dear = {**PRICE, "cache_write_usd_per_mtok": 125, "cache_write_1h_usd_per_mtok": 200}
    claude = {"type": "anthropic", "default_model": "claude-sonnet-4-5", "price": dear}
    async with gateway(tmp_path, AGENTS, {"claude": claude}, budgets=[BUDGET]) as each:
        yield each


async def chat(gate: Gateway, model: str, **body: Any) -> Any:
    form = {"model": model, "messages": HELLO, "max_tokens": 10, **body}
    return await gate.served.ask("POST", CHAT, gate.token, json=form)


async def message(gate: Gateway, model: str, **body: Any) -> Any:
    form = {"model": model, "messages": HELLO, "max_tokens": 10, **body}
    return await gate.served.ask("POST", MESSAGES, gate.token, json=form)


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What is this?"}]}]


@pytest.mark.parametrize(
    ("model", "sent"), [("gpt/gpt-4o", FILE), ("claude/claude-sonnet-4-5", DOCUMENT)]
)
async def test_a_file_of_a_chat_is_a_file_in_the_targets_words(
    gate: Gateway, model: str, sent: dict[str, Any]
) -> None:
    answer = await chat(gate, model, messages=user(FILE))
    assert answer.status_code == 200, answer.text
    assert gate.sent["messages"][0]["content"][0] == sent


@pytest.mark.parametrize(
    ("model", "sent"), [("gpt/gpt-4o", FILE), ("claude/claude-sonnet-4-5", DOCUMENT)]
)
async def test_a_document_of_a_message_is_a_file_in_the_targets_words(
    gate: Gateway, model: str, sent: dict[str, Any]
) -> None:
    answer = await message(gate, model, messages=user(DOCUMENT))
    assert answer.status_code == 200, answer.text
    assert gate.sent["messages"][0]["content"][0] == sent


async def test_strict_tools_are_strict_at_claude(gate: Gateway) -> None:
    await chat(gate, "claude/claude-sonnet-4-5", tools=[WEATHER])
    assert gate.sent["tools"][0]["strict"] is True
    assert gate.stub.requests[-1].headers["anthropic-beta"] == "structured-outputs-2025-11-13"


async def test_a_claude_without_strict_tools_is_not_told_of_them(gate: Gateway) -> None:
    answer = await chat(gate, "claude/claude-sonnet-4-20250514", tools=[WEATHER])
    assert "strict" not in gate.sent["tools"][0]
    assert answer.headers["x-orchestify-warnings"] == "strict_dropped"


async def test_a_field_in_a_targets_list_goes_into_the_body(gate: Gateway) -> None:
    await chat(gate, "gpt/qwen", top_k=5, chat_template_kwargs={"enable_thinking": False})
    assert gate.sent["top_k"] == 5
    assert gate.sent["chat_template_kwargs"] == {"enable_thinking": False}


async def test_an_unknown_field_is_a_400_that_names_it(gate: Gateway) -> None:
    answer = await chat(gate, "gpt/gpt-4o", nobody_knows=1)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "nobody_knows"
    assert not gate.stub.requests


async def test_a_cache_for_an_hour_is_held_at_its_price(gate: Gateway) -> None:
    words = "word " * 1_000
    marked = [{"type": "text", "text": words, "cache_control": HOUR}]
    await chat(gate, "claude/claude-sonnet-4-5", messages=[{"role": "user", "content": words}])
    await chat(gate, "claude/claude-sonnet-4-5", messages=[{"role": "user", "content": marked}])
    plain, cached = (row[0] for row in gate.rows("cost_at_most_usd"))
    assert gate.sent["messages"][0]["content"][0]["cache_control"] == HOUR
    assert 1.8 < cached / plain < 2.1


async def test_what_a_message_asks_for_in_its_own_words_is_held(tmp_path: Path) -> None:
    settings = {"allowed_fields": ("cache_control.ttl",)}
    dear = {**PRICE, "cache_write_1h_usd_per_mtok": 200}
    claude = {"type": "anthropic", "default_model": "claude-sonnet-4-5", "price": dear}
    marked = [{"type": "text", "text": "word " * 1_000, "cache_control": HOUR}]
    async with gateway(tmp_path, {}, {"claude": claude}, settings, budgets=[BUDGET]) as gate:
        await message(gate, "claude/claude-sonnet-4-5", system="word " * 1_000)
        await message(gate, "claude/claude-sonnet-4-5", system=marked)
        plain, cached = (row[0] for row in gate.rows("cost_at_most_usd"))
    assert 1.8 < cached / plain < 2.1


async def test_an_agents_cache_marks_a_message_in_its_own_words(gate: Gateway) -> None:
    tool = {"name": "now", "input_schema": {"type": "object"}}
    await message(gate, "agent:cached", system="Be brief.", tools=[tool, {**tool, "name": "then"}])
    mark = {"type": "ephemeral"}
    assert gate.sent["system"] == [{"type": "text", "text": "Be brief.", "cache_control": mark}]
    assert [each.get("cache_control") for each in gate.sent["tools"]] == [None, mark]


async def test_a_caller_that_marks_itself_is_taken_at_its_word(gate: Gateway) -> None:
    mark = {"type": "ephemeral", "ttl": "5m"}
    said = [{"type": "text", "text": "hello", "cache_control": mark}]
    messages = [{"role": "user", "content": said}]
    await message(gate, "agent:cached", system="Be brief.", messages=messages)
    assert gate.sent["system"] == "Be brief."
    assert gate.sent["messages"] == messages
