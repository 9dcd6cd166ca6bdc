"""An agent's chain of targets, end to end."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestify import (
    AllTargetsFailedError,
    ContentFilterError,
    InvalidParameterError,
    InvalidRequestError,
    ServerError,
    StreamInterruptedError,
)
from orchestify.events.events import FallbackTaken, TargetSkipped
from orchestify.testing import Reply, StubServer
from tests.registries import registry_on

ABC: dict[str, dict[str, Any]] = {"a": {}, "b": {}, "c": {}}
CHAIN = {"it": {"provider": "a", "fallback": ["b", "c"]}}
TOOL = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
IMAGE = {
    "role": "user",
    "content": [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}},
    ],
}


@pytest.fixture
async def server() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


def models_of(server: StubServer) -> list[str]:
    """The models of the requests, in order."""
    return [request.model for request in server.requests]


async def test_what_was_tried_stands_in_the_response(server: StubServer) -> None:
    server.script(Reply(status=500), Reply(status=500), model="a")
    server.script(Reply(status=401), model="b")
    async with registry_on(server, ABC, CHAIN) as registry:
        response = await registry.get_for_agent("it").complete("hi")
    assert [(each.provider, each.outcome, each.error) for each in response.attempts] == [
        ("a", "failed", "ServerError"),
        ("a", "failed", "ServerError"),
        ("b", "failed", "AuthenticationError"),
        ("c", "ok", None),
    ]
    assert response.provider == "c"
    assert models_of(server) == ["a", "a", "b", "c"]


async def test_the_final_error_has_one_line_a_target(server: StubServer) -> None:
    server.script(Reply(status=500, error="out of order"), model="a")
    server.script(Reply(status=500, error="still out of order"), model="a")
    server.script(Reply(status=401, error="who are you"), model="b")
    server.script(Reply(status=404, error="no such thing"), model="c")
    async with registry_on(server, ABC, CHAIN) as registry:
        with pytest.raises(AllTargetsFailedError) as caught:
            await registry.get_for_agent("it").complete("hi")
    assert str(caught.value).splitlines() == [
        "none of 3 targets answered:",
        "a/a: ServerError: still out of order",
        "b/b: AuthenticationError: who are you",
        "c/c: ModelNotFoundError: no such thing",
    ]
    assert [error.provider for error in caught.value.errors] == ["a", "b", "c"]


async def test_one_target_raises_its_own_error(server: StubServer) -> None:
    server.script(Reply(status=500), Reply(status=500))
    async with registry_on(server, ABC, {"it": {"provider": "a"}}) as registry:
        with pytest.raises(ServerError):
            await registry.get_for_agent("it").complete("hi")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [(Reply(status=400), InvalidRequestError), (Reply(error="content_filter"), ContentFilterError)],
    ids=["invalid-request", "content-filter"],
)
async def test_the_callers_own_mistake_does_not_fall_back(
    server: StubServer, reply: Reply, kind: type[Exception]
) -> None:
    server.script(reply, model="a")
    async with registry_on(server, ABC, CHAIN) as registry:
        with pytest.raises(kind):
            await registry.get_for_agent("it").complete("hi")
    assert models_of(server) == ["a"]


@pytest.mark.parametrize(
    ("reply", "named"),
    [(Reply(status=400), "invalid_request"), (Reply(error="content_filter"), "content_filter")],
)
async def test_it_does_where_the_agent_says_so(
    server: StubServer, reply: Reply, named: str
) -> None:
    server.script(reply, model="a")
    agents = {"it": {"provider": "a", "fallback": ["b"], "fallback_on": [named]}}
    async with registry_on(server, ABC, agents) as registry:
        response = await registry.get_for_agent("it").complete("hi")
    assert response.provider == "b"


# The model that lacks something, what it lacks, and the call that needs it.
LACKS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("gpt-5-chat", "cannot call tools", "hi", {"tools": [TOOL]}),
    ("gpt-audio", "has no structured output", "hi", {"response_format": SCHEMA}),
    ("gpt-4", "has no extended thinking", "hi", {"thinking": True}),
    ("gpt-4", "takes at most 8192 tokens of input", "word " * 20_000, {}),
]


@pytest.mark.parametrize(
    ("model", "what", "prompt", "arguments"), LACKS, ids=["tools", "form", "thinking", "context"]
)
async def test_a_target_known_to_lack_what_is_needed_is_passed_over(
    server: StubServer, model: str, what: str, prompt: str, arguments: dict[str, Any]
) -> None:
    providers = {"a": {"default_model": model}, "b": {}}
    agents = {"it": {"provider": "a", "fallback": ["b"]}}
    told: list[object] = []
    async with registry_on(server, providers, agents) as registry:
        registry.on(told.append, TargetSkipped, FallbackTaken)
        response = await registry.get_for_agent("it").complete(prompt, **arguments)
        server.script(Reply(status=401), model="b")
        with pytest.raises(AllTargetsFailedError, match=f"a/{model}: .*: the model {what}"):
            await registry.get_for_agent("it").complete(prompt, **arguments)
        with pytest.raises(InvalidParameterError, match=what):
            await registry.get("a").complete(prompt, **arguments)
    assert response.provider == "b"
    assert models_of(server) == ["b", "b"]
    assert told[0] == TargetSkipped("it", "a", model, "InvalidParameterError")


async def test_a_target_that_takes_no_images_is_passed_over(server: StubServer) -> None:
    providers = {"a": {"default_model": "o3-mini"}, "b": {}}
    agents = {"it": {"provider": "a", "fallback": ["b"]}}
    async with registry_on(server, providers, agents) as registry:
        response = await registry.get_for_agent("it").complete([IMAGE])
        with pytest.raises(InvalidParameterError, match="takes no images"):
            await registry.get("a").complete([IMAGE])
    assert response.provider == "b"
    assert models_of(server) == ["b"]


async def test_what_nobody_knows_is_tried(server: StubServer) -> None:
    async with registry_on(server, ABC, CHAIN) as registry:
        response = await registry.get_for_agent("it").complete("hi", tools=[TOOL])
    assert response.provider == "a"


async def test_a_stream_falls_back_before_its_first_output_only(server: StubServer) -> None:
    server.script(Reply(words=9, cut_after=0), Reply(status=503), model="a")
    async with registry_on(server, ABC, CHAIN) as registry:
        agent = registry.get_for_agent("it")
        stream = agent.stream("hi")
        text = "".join([piece async for piece in stream])
        server.script(Reply(words=9, cut_after=3), model="a")
        with pytest.raises(StreamInterruptedError) as cut:
            async for _ in agent.stream("hi"):
                pass
    assert text == "b read 1 words."
    assert [each.outcome for each in stream.response.attempts] == ["failed", "failed", "ok"]
    assert cut.value.text == "one day the "
    assert models_of(server) == ["a", "a", "b", "a"]


async def test_the_deadline_covers_all_targets(server: StubServer) -> None:
    server.script(Reply(slow_headers_s=30), model="a")
    async with registry_on(server, ABC, CHAIN) as registry:
        with pytest.raises(TimeoutError):
            await registry.get_for_agent("it").complete("hi", timeout_s=1)
    assert models_of(server) == ["a"]


async def test_targets_are_used_in_turn_also_where_calls_fall_back_to_them(
    server: StubServer,
) -> None:
    agents = {**CHAIN, "it": {**CHAIN["it"], "strategy": "least_recently_used"}}
    server.script(Reply(status=404), model="a")
    async with registry_on(server, ABC, agents) as registry:
        agent = registry.get_for_agent("it")
        used = [(await agent.complete("hi")).provider for _ in range(4)]
    assert models_of(server) == ["a", "b", "c", "a", "b"]
    assert used == ["b", "c", "a", "b"]


async def test_weights_share_the_calls_out(server: StubServer) -> None:
    agents = {
        "it": {
            "provider": "a",
            "weight": 3,
            "fallback": [{"provider": "b", "weight": 1}],
            "strategy": "weighted",
        }
    }
    async with registry_on(server, ABC, agents) as registry:
        draws = iter([0.1, 0.9, 0.9, 0.1, 0.3, 0.9, 0.2, 0.8] * 2)
        registry._lookup.runtime.chance = lambda: next(draws)
        agent = registry.get_for_agent("it")
        used = Counter([(await agent.complete("hi")).provider for _ in range(8)])
    assert used == {"a": 6, "b": 2}
