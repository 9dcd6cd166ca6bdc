"""`POST /v1/embeddings`, by OpenAI's own client and in its raw words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from orchestify.testing import Reply
from tests.gateways import Gateway, gateway

PATH = "/v1/embeddings"
AGENTS = {
    "embedder": {"provider": "gpt", "model": "embed"},
    "resilient": {"provider": "gpt", "model": "broken;status=401", "fallback": ["gpt"]},
}


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, AGENTS) as each:
        yield each


async def ask(gate: Gateway, **body: Any) -> httpx.Response:
    return await gate.served.ask("POST", PATH, gate.token, json=body)


@pytest.mark.parametrize("model", ["gpt/embed", "agent:embedder"])
async def test_the_client_gets_vectors_in_order(gate: Gateway, model: str) -> None:
    answer = await gate.client.embeddings.create(model=model, input=["one", "two"], dimensions=4)
    whole = await gate.client.embeddings.create(
        model=model, input="two", dimensions=4, encoding_format="float"
    )
    assert [len(row.embedding) for row in answer.data] == [4, 4]
    assert answer.data[1].embedding == whole.data[0].embedding
    assert (answer.model, answer.usage.prompt_tokens > 0) == (model, True)


async def test_the_headers_and_the_ledger_tell_the_call(gate: Gateway) -> None:
    gate.stub.script(Reply(usage={"prompt_tokens": 7, "total_tokens": 7}))
    answer = await ask(gate, model="gpt/embed", input="one")
    assert answer.headers["x-orchestify-provider"] == "gpt"
    assert answer.headers["x-orchestify-cost-usd"] == "0.0007"
    assert answer.json()["usage"] == {"prompt_tokens": 7, "total_tokens": 7, "cost": 0.0007}
    usage = await gate.served.ask("GET", "/api/v1/usage", gate.served.token("acme", "read"))
    assert usage.json()["total"]["input_tokens"] == 7


async def test_base64_is_the_same_vector(gate: Gateway) -> None:
    packed = await ask(gate, model="gpt/embed", input="one", encoding_format="base64")
    plain = await ask(gate, model="gpt/embed", input="one")
    assert packed.json()["data"][0]["embedding"].endswith("=")
    assert type(plain.json()["data"][0]["embedding"]) is list


@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2], [3]]])
async def test_tokens_are_passed_on(gate: Gateway, given: Any) -> None:
    await ask(gate, model="gpt/embed", input=given)
    assert gate.sent["input"] in ([[1, 2, 3]], [[1, 2], [3]])


async def test_user_is_passed_on(gate: Gateway) -> None:
    await ask(gate, model="gpt/embed", input="one", user="u1")
    assert gate.sent == {"model": "embed", "input": ["one"], "user": "u1"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "one"}, "model"),
        ({"model": "gpt/embed"}, "input"),
        ({"model": "gpt/embed", "input": ""}, "input[0]"),
        ({"model": "gpt/embed", "input": []}, "input"),
        ({"model": "gpt/embed", "input": ["one", 2]}, "input[1]"),
        ({"model": "gpt/embed", "input": [[1, 2.5]]}, "input[0]"),
        ({"model": "gpt/embed", "input": "one", "dimensions": 0}, "dimensions"),
        ({"model": "gpt/embed", "input": "one", "encoding_format": "int8"}, "encoding_format"),
        ({"model": "gpt/embed", "input": "one", "input_type": "query"}, "input_type"),
    ],
)
async def test_what_cannot_be_used_is_named(
    gate: Gateway, body: dict[str, Any], param: str
) -> None:
    answer = await ask(gate, **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert not gate.stub.requests


async def test_a_target_without_embeddings_is_a_400(gate: Gateway) -> None:
    answer = await ask(gate, model="claude/claude-sonnet-4-5", input="one")
    assert answer.status_code == 400
    assert "no embeddings" in answer.json()["error"]["message"]


async def test_an_unknown_model_is_a_404(gate: Gateway) -> None:
    with pytest.raises(openai.NotFoundError):
        await gate.client.embeddings.create(model="nobody/embed", input="one")


async def test_a_call_has_the_time_that_the_header_says(gate: Gateway) -> None:
    gate.stub.script(Reply(delay_s=30))
    async with gate.served.client(gate.token, **{"x-orchestify-timeout-s": "0.2"}) as client:
        answer = await client.post(PATH, json={"model": "gpt/embed", "input": "one"})
    assert answer.status_code == 504


async def test_a_client_that_disconnects_cancels_the_call(gate: Gateway) -> None:
    gate.stub.script(Reply(delay_s=30))
    async with gate.served.client(gate.token) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(PATH, json={"model": "gpt/embed", "input": "one"}, timeout=2)
    await gate.stub.wait_idle()
    assert gate.stub.requests[-1].outcome == "client_left"
