"""Embeddings through the whole call path, on the lanes that have them."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from orchestify import (
    BudgetExceededError,
    CompletionStream,
    EmbeddingRequest,
    EmbeddingResponse,
    InvalidParameterError,
    InvalidResponseError,
    LiteLLMProvider,
    LLMProvider,
    LLMResponse,
    MockProvider,
    OpenAIProvider,
    ProviderRegistry,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
)
from orchestify.calls.embedding import Batch, batch_at
from orchestify.core.config import parse_config
from orchestify.testing import Reply, StubServer
from tests.any_path import AnyPathServer
from tests.lanes import LITELLMS_OWN_WARNINGS

pytestmark = LITELLMS_OWN_WARNINGS
CONFIG = """
retry: {{first_delay_s: 0, max_delay_s: 0}}
providers:
  direct: {{type: openai, api_key: sk, default_model: embed, base_url: "{url}",
            options: {{top_k: 3}}, price: {{input_usd_per_mtok: 1, output_usd_per_mtok: 0}}}}
  through_litellm: {{type: litellm, api_key: sk, default_model: openai/embed, base_url: "{url}",
            options: {{top_k: 3}}, price: {{input_usd_per_mtok: 1, output_usd_per_mtok: 0}}}}
  claude: {{type: anthropic, api_key: sk, default_model: claude-sonnet-4-6, base_url: "{url}"}}
agents:
  embedder: {{provider: direct, model: "embed;status=503", fallback: [through_litellm]}}
  spread: {{provider: direct, fallback: [{{provider: direct, model: other}}],
            strategy: round_robin}}
"""
LANES = pytest.mark.parametrize("name", ["direct", "through_litellm"])


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer.in_thread() as server:
        yield server


def registry_at(server: StubServer, more: str = "") -> ProviderRegistry:
    return ProviderRegistry.from_config(parse_config(CONFIG.format(url=server.openai_url) + more))


@LANES
async def test_each_text_has_its_vector_in_order(server: StubServer, name: str) -> None:
    async with registry_at(server) as registry:
        answer = await registry.get(name).embed(["one", "two"], dimensions=4)
        swapped = await registry.get(name).embed(["two", "one"], dimensions=4)
    assert [len(vector) for vector in answer.vectors] == [4, 4]
    assert answer.vectors == swapped.vectors[::-1]
    assert server.requests[0].body == {"model": "embed", "input": ["one", "two"], "dimensions": 4}


@LANES
async def test_usage_and_cost_are_booked(server: StubServer, name: str) -> None:
    server.script(Reply(usage={"prompt_tokens": 7, "total_tokens": 7}))
    async with registry_at(server) as registry:
        answer = await registry.get(name).embed("one")
        total = registry.get_usage_summary()["by_provider"][name]
    assert (answer.tokens_input, answer.usage.source) == (7, "reported")
    assert str(answer.cost_usd) == "0.000007"
    assert (answer.provider, answer.attempts[0].outcome) == (name, "ok")
    assert (total["calls"], total["input_tokens"], total["output_tokens"]) == (1, 7, 0)


@LANES
async def test_usage_that_is_not_reported_is_estimated(server: StubServer, name: str) -> None:
    async with registry_at(server) as registry:
        answer = await registry.get(name).embed("one two three", model=model_of(name, "x;usage="))
    assert answer.usage.source == "estimated"
    assert answer.tokens_input > 2


def model_of(name: str, model: str) -> str:
    return {"direct": model, "through_litellm": f"openai/{model}"}[name]


@LANES
async def test_a_failure_is_tried_again(server: StubServer, name: str) -> None:
    server.script(Reply(status=500))
    async with registry_at(server) as registry:
        answer = await registry.get(name).embed("one")
    assert [each.outcome for each in answer.attempts] == ["failed", "ok"]


async def test_an_agents_chain_goes_on_to_its_next_target(server: StubServer) -> None:
    async with registry_at(server) as registry:
        answer = await registry.get_for_agent("embedder").embed("one", max_attempts=1)
    assert answer.provider == "through_litellm"


async def test_no_other_model_answers_for_one_that_was_named(server: StubServer) -> None:
    async with registry_at(server) as registry:
        agent = registry.get_for_agent("embedder")
        with pytest.raises(ServerError):
            await agent.embed("one", model="gone;status=503", max_attempts=1)
        answer = await agent.embed(
            "one", model="gone;status=503", max_attempts=1, fallback=["through_litellm"]
        )
    assert answer.provider == "through_litellm"


async def test_many_texts_go_in_batches_and_keep_their_order(server: StubServer) -> None:
    texts = [f"text {number}" for number in range(200)]
    async with registry_at(server) as registry:
        answer = await registry.get("direct").embed(texts)
        alone = await registry.get("direct").embed(texts[150])
        calls = registry.get_usage_summary()["total"]["calls"]
    sent = [request.body["input"] for request in server.requests]
    assert [len(each) for each in sent] == [32, 32, 32, 32, 32, 32, 8, 1]
    assert [text for batch in sent[:-1] for text in batch] == texts
    assert answer.vectors[150] == alone.vectors[0]
    assert (answer.tokens_input, answer.cost_usd) == (400, Decimal("0.0004"))
    assert ([each.outcome for each in answer.attempts], calls) == (["ok"] * 7, 8)


async def test_long_texts_fill_a_batch_before_their_number_does(server: StubServer) -> None:
    async with registry_at(server) as registry:
        await registry.get("direct").embed(["word " * 6_000] * 3)
    assert [len(request.body["input"]) for request in server.requests] == [2, 1]


async def test_all_vectors_are_of_the_target_that_answered_first(server: StubServer) -> None:
    async with registry_at(server) as registry:
        agent = registry.get_for_agent("spread")
        await agent.embed([f"text {number}" for number in range(200)])
    assert {request.model for request in server.requests} == {"embed"}


async def test_a_batch_that_fails_fails_the_call_and_what_went_before_is_booked(
    server: StubServer,
) -> None:
    server.script(Reply(), Reply(status=400), model="embed")
    async with registry_at(server) as registry:
        with pytest.raises(Exception, match="status 400"):
            await registry.get("direct").embed(["text"] * 50)
        total = registry.get_usage_summary()["total"]
    assert (total["calls"], total["attempts"], total["input_tokens"] > 0) == (1, 2, True)


async def test_the_time_of_a_call_covers_all_its_batches(server: StubServer) -> None:
    server.script(Reply(delay_s=0.3), Reply(delay_s=30))
    async with registry_at(server) as registry:
        with pytest.raises(RequestTimeoutError):
            await registry.get("direct").embed(["text"] * 50, timeout_s=1)
    assert len(server.requests) == 2


async def test_a_later_batch_goes_out_with_another_key_where_one_is_refused(
    server: StubServer,
) -> None:
    pool = {"api_keys": ["sk-1", "sk-2"], "default_model": "embed", "base_url": server.openai_url}
    server.script(Reply(), Reply(status=429), model="embed")
    registry = ProviderRegistry()
    registry.register("pool", OpenAIProvider("pool", pool))
    async with registry:
        answer = await registry.get("pool").embed(["text"] * 50, max_attempts=1)
    assert [each.outcome for each in answer.attempts] == ["ok", "failed", "ok"]
    keys = [request.headers["authorization"] for request in server.requests]
    assert keys[0] == keys[1] != keys[2]


async def test_a_registry_that_closes_waits_for_all_batches(server: StubServer) -> None:
    server.script(Reply(delay_s=0.3), Reply(delay_s=0.3), model="embed")
    registry = registry_at(server)
    embedding = asyncio.create_task(registry.get("direct").embed(["text"] * 50))
    await asyncio.sleep(0.1)
    await registry.aclose()
    assert len((await embedding).vectors) == 50


async def test_a_budget_holds_for_embeddings(server: StubServer) -> None:
    budget = "budgets: [{name: all, limit_usd: 0.0001, period: ever}]"
    async with registry_at(server, budget) as registry:
        with pytest.raises(BudgetExceededError):
            await registry.get("direct").embed("word " * 1_000)
        await registry.get("direct").embed("a few words")
    assert len(server.requests) == 1


async def test_a_rate_limit_holds_for_embeddings(server: StubServer) -> None:
    limit = "rate_limit: {requests_per_minute: 1}"
    async with registry_at(server, limit) as registry:
        await registry.get("direct").embed("one")
        with pytest.raises(RateLimitError):
            await registry.get("direct").embed("one", timeout_s=1)


async def test_a_circuit_opens_for_embeddings(server: StubServer) -> None:
    breaker = "circuit_breaker: {failures: 1}"
    async with registry_at(server, breaker) as registry:
        with pytest.raises(ServerError):
            await registry.get("direct").embed("one", model="x;status=500", max_attempts=1)
        assert registry.circuits() == {("direct", "x;status=500"): "open"}


@LANES
async def test_tokens_may_be_given_in_place_of_text(server: StubServer, name: str) -> None:
    async with registry_at(server) as registry:
        answer = await registry.get(name).embed([[1, 2, 3], "two"])
    assert server.requests[0].body["input"] == [[1, 2, 3], "two"]
    assert len(answer.vectors) == 2


GOOGLES = b'{"embeddings": [{"values": [0.5, 0.0]}, {"values": [0.5, 1.0]}]}'
OPENAIS = b"""{"object": "list", "model": "embed", "data": [
  {"object": "embedding", "index": 0, "embedding": [0.5, 0.0]},
  {"object": "embedding", "index": 1, "embedding": [0.5, 1.0]}],
  "usage": {"prompt_tokens": 5, "total_tokens": 5}}"""


@pytest.mark.parametrize(
    ("model", "body", "path", "source"),
    [
        ("azure/embed", OPENAIS, "/openai/deployments/embed/embeddings", "reported"),
        ("gemini/embed", GOOGLES, "/models/embed:batchEmbedContents", "estimated"),
    ],
)
async def test_litellm_embeds_at_azure_and_gemini_with_a_client_of_ours(
    model: str, body: bytes, path: str, source: str
) -> None:
    async with AnyPathServer(body, headers={"content-type": "application/json"}) as server:
        provider = LiteLLMProvider(
            "p", {"api_key": "sk", "default_model": model, "base_url": server.url}
        )
        answer = await provider.embed(["one", "two"], dimensions=2)
        await provider.aclose()
    assert [list(vector) for vector in answer.vectors] == [[0.5, 0.0], [0.5, 1.0]]
    assert answer.usage.source == source
    assert [request.path for request in server.requests] == [path]


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        ("vertex_ai/text-embedding-005", Batch(250, 20_000)),
        ("vertex_ai/gemini-embedding-001", Batch(1, 20_000)),
        ("gemini/gemini-embedding-001", Batch(100, None)),
        ("dashscope/text-embedding-v4", Batch(10, 8_192)),
        ("cohere/embed-v4.0", Batch(32, 16_384)),
    ],
)
def test_what_one_request_takes_is_the_models_companys(model: str, batch: Batch) -> None:
    provider = LiteLLMProvider("p", {"api_key": "sk", "default_model": model})
    assert batch_at(provider.route.targets[0]) == batch


async def test_tokens_are_refused_where_they_are_another_tokenizers(server: StubServer) -> None:
    async with registry_at(server) as registry:
        with pytest.raises(InvalidParameterError, match="takes no tokens"):
            await registry.get("through_litellm").embed([[1, 2]], model="cohere/embed-v4.0")


async def test_anthropic_has_no_embeddings(server: StubServer) -> None:
    async with registry_at(server) as registry:
        with pytest.raises(InvalidParameterError, match="claude: this protocol has no embeddings"):
            await registry.get("claude").embed("one")
    assert not server.requests


async def test_options_go_into_the_body(server: StubServer) -> None:
    async with registry_at(server) as registry:
        await registry.get("direct").embed("one", options={"user": "u1"})
    assert server.requests[0].body == {"model": "embed", "input": ["one"], "user": "u1"}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "texts is one text or several"),
        (b"bytes", "texts is one text or several"),
        (["one", ""], r"texts\[1\] is empty"),
        (["one", None], r"texts\[1\] is a text"),
        ([[1, -2]], r"texts\[0\] is a text"),
        ([[True]], r"texts\[0\] is a text"),
        ([[]], r"texts\[0\] is a text"),
    ],
)
async def test_what_cannot_be_embedded_is_named(texts: Any, said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        await MockProvider("mock", {}).embed(texts)


@pytest.mark.parametrize("dimensions", [0, -1, 1.5, True])
async def test_dimensions_are_a_number(dimensions: Any) -> None:
    with pytest.raises(InvalidParameterError, match="dimensions is a whole number"):
        await MockProvider("mock", {}).embed("one", dimensions=dimensions)


async def test_a_word_that_embed_does_not_have_is_a_type_error() -> None:
    unknown: Any = {"temperature": 1}
    with pytest.raises(TypeError, match="temperature"):
        await MockProvider("mock", {}).embed("one", **unknown)


async def test_a_scripted_provider_makes_the_same_vector_of_the_same_text() -> None:
    provider = MockProvider("mock", {})
    answer = await provider.embed(["one", "two", "one"], dimensions=3)
    assert answer.vectors[0] == answer.vectors[2] != answer.vectors[1]
    assert [len(vector) for vector in answer.vectors] == [3, 3, 3]


def test_the_synchronous_face_embeds_too() -> None:
    assert len(MockProvider("mock", {}).embed_sync("one").vectors) == 1


class Own(LLMProvider):
    """A host's own provider, that embeds as well."""

    def __init__(self, *vectors: array[float]) -> None:
        self.vectors = vectors

    @property
    def provider_type(self) -> str:
        return "own"

    async def complete(self, *arguments: Any, **more: Any) -> LLMResponse:
        raise NotImplementedError

    def stream(self, *arguments: Any, **more: Any) -> CompletionStream:
        raise NotImplementedError

    async def embed_inputs(self, request: EmbeddingRequest) -> EmbeddingResponse:
        await asyncio.sleep(0)
        return EmbeddingResponse(self.vectors, "own")


async def test_a_hosts_own_provider_embeds_through_the_same_path() -> None:
    registry = ProviderRegistry()
    registry.register("own", Own(array("d", [0.5])))
    answer = await registry.get("own").embed("one")
    assert (answer.vectors, answer.provider) == ((array("d", [0.5]),), "own")
    assert registry.get_usage_summary()["total"]["calls"] == 1


async def test_another_number_of_vectors_is_no_answer() -> None:
    registry = ProviderRegistry()
    registry.register("own", Own(array("d", [0.5])))
    with pytest.raises(InvalidResponseError, match="another number of vectors"):
        await registry.get("own").embed(["one", "two"], max_attempts=1)
