"""Recorded requests and answers of Anthropic's protocol, through the gateway: as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests import recorded
from tests.servers import PROVIDERS, Served, serving

MESSAGES = "/v1/messages"


async def own_provider(served: Served, url: str) -> str:
    """Give a tenant a provider with a key of its own, and return a token."""
    config = {"base_url": url, "default_model": "claude-sonnet-4-5"}
    body = {"name": "mine", "provider_type": "anthropic", "api_key": "sk-own", "config": config}
    made = await served.ask("POST", PROVIDERS, served.token("acme", "admin"), json=body)
    assert made.status_code == 201, made.text
    return served.token("acme", "call")


def named(event: dict[str, Any], model: str) -> dict[str, Any]:
    """An event, or a whole answer, with the name that the client asked for."""
    if event.get("type") == "message_start":
        return {**event, "message": {**event["message"], "model": model}}
    return {**event, "model": model} if event.get("type") == "message" else event


async def test_recorded_messages_pass_through_as_they_were(tmp_path: Path) -> None:
    recorded.need_recorded()
    messages = [each for each in recorded.exchanges() if each.kind == "messages"]
    answered = [each for each in messages if each.status == 200 and "model" in each.request["body"]]
    other_requests, other_answers = set(), set()
    async with recorded.upstream(MESSAGES) as provider, serving(tmp_path) as served:
        token = await own_provider(served, provider.url)
        for exchange in answered:
            provider.exchange = exchange
            body, model = exchange.request["body"], f"mine/{exchange.request['body']['model']}"
            answer = await served.ask("POST", MESSAGES, token, json={**body, "model": model})
            assert answer.status_code == 200, (exchange.id, answer.text)
            whole = recorded.parts_of(exchange.body.decode(), is_stream=exchange.is_stream)
            got = recorded.parts_of(answer.text, is_stream=exchange.is_stream)
            sent = {name: value for name, value in body.items() if name != "stream" or value}
            if provider.asked[-1] != sent:
                other_requests.add(exchange.id)
            if got != [named(each, model) for each in whole]:
                other_answers.add(exchange.id)
    assert len(answered) == 177
    assert other_answers == set()
    assert other_requests == set()
