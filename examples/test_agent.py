"""Tests of a host's code, with no provider and no network: `pytest examples/test_agent.py`."""

from collections.abc import Iterator

import pytest

from orchestify import LLMProvider, OpenAIProvider, RateLimitError
from orchestify.testing import Reply, StubServer


def headline(provider: LLMProvider, text: str) -> str:
    """Return a headline, as a host's code would: this is what is tested."""
    response = provider.complete_sync(f"A headline for: {text}", max_tokens=20)
    return response.content.strip().rstrip(".")


@pytest.fixture
def server() -> Iterator[StubServer]:
    """A server on loopback that speaks OpenAI's protocol."""
    with StubServer.in_thread() as server:
        yield server


@pytest.fixture
def provider(server: StubServer) -> LLMProvider:
    """A provider that leads there; it tries twice, without waiting long."""
    retry = {"max_attempts": 2, "first_delay_s": 0.01, "max_delay_s": 0.02}
    settings = {"base_url": server.openai_url, "api_key": "any", "default_model": "stub"}
    return OpenAIProvider("stub", {**settings, "retry": retry})


def test_a_headline_has_no_full_stop(server: StubServer, provider: LLMProvider) -> None:
    server.script(Reply(text=" Rain in Paris. "))
    assert headline(provider, "It rained.") == "Rain in Paris"


def test_it_asks_for_few_tokens(server: StubServer, provider: LLMProvider) -> None:
    headline(provider, "It rained.")
    assert server.requests[-1].body["max_tokens"] == 20


def test_an_overloaded_provider_is_asked_again(server: StubServer, provider: LLMProvider) -> None:
    server.script(Reply(status=503), Reply(text="Sun"))
    assert headline(provider, "It is dry.") == "Sun"
    assert [request.status for request in server.requests] == [503, 200]


def test_a_rate_limit_that_stays_is_told(server: StubServer, provider: LLMProvider) -> None:
    server.script(*[Reply(status=429, retry_after="0.01")] * 2)
    with pytest.raises(RateLimitError):
        headline(provider, "It is dry.")
