"""Recorded requests and answers of OpenAI's Responses, through the gateway: as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests import recorded
from tests.servers import PROVIDERS, Served, serving

RESPONSES = "/v1/responses"
BACKGROUND = "openai-responses-json-200-7d7fd9b153"
"""Asked for in the background, which is refused here: no call ends when its client leaves."""


async def own_provider(served: Served, url: str) -> str:
    """Give a tenant a provider with a key of its own, and return a token."""
    config = {"base_url": f"{url}/v1", "default_model": "gpt-5", "api": "responses"}
    body = {"name": "mine", "provider_type": "openai", "api_key": "sk-own", "config": config}
    made = await served.ask("POST", PROVIDERS, served.token("acme", "admin"), json=body)
    assert made.status_code == 201, made.text
    return served.token("acme", "call")


def named(event: dict[str, Any], model: str, id_: str) -> dict[str, Any]:
    """An event, or a whole answer, with the name that the client asked for and our id."""
    if isinstance(event.get("response"), dict):
        return {**event, "response": named(event["response"], model, id_)}
    return {**event, "model": model, "id": id_} if event.get("object") == "response" else event


def id_in(part: dict[str, Any]) -> str:
    """The response's id in a whole answer, or in a stream's first event."""
    found = part.get("response", part)["id"]
    assert isinstance(found, str)
    return found


async def test_recorded_responses_pass_through_as_they_were(tmp_path: Path) -> None:
    recorded.need_recorded()
    answered = [
        each
        for each in recorded.exchanges()
        if each.kind == "responses" and each.status == 200 and each.id != BACKGROUND
    ]
    other_requests, other_answers = set(), set()
    async with recorded.upstream(RESPONSES) as provider, serving(tmp_path) as served:
        token = await own_provider(served, provider.url)
        for exchange in answered:
            provider.exchange = exchange
            body, model = exchange.request["body"], f"mine/{exchange.request['body']['model']}"
            answer = await served.ask("POST", RESPONSES, token, json={**body, "model": model})
            assert answer.status_code == 200, (exchange.id, answer.text)
            whole = recorded.parts_of(exchange.body.decode(), is_stream=exchange.is_stream)
            got = recorded.parts_of(answer.text, is_stream=exchange.is_stream)
            sent = {name: value for name, value in body.items() if name != "stream" or value}
            if provider.asked[-1] != sent:
                other_requests.add(exchange.id)
            if got != [named(each, model, id_in(got[0])) for each in whole]:
                other_answers.add(exchange.id)
    assert len(answered) == 159
    assert other_answers == set()
    assert other_requests == set()
