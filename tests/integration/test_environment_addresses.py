"""What `from_env` makes of an address in the environment: keys go there, and nowhere else."""

from __future__ import annotations

import pytest

from orchestify import ProviderRegistry
from orchestify.testing import StubServer

KEY = "key-of-the-tests-0123456789"


@pytest.mark.parametrize(
    ("name", "key", "variable", "path"),
    [
        ("openai", "OPENAI_API_KEY", "OPENAI_BASE_URL", "/v1/chat/completions"),
        ("anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "/v1/messages"),
        ("deepseek", "DEEPSEEK_API_KEY", "DEEPSEEK_BASE_URL", "/v1/chat/completions"),
        ("xai", "GROK_API_KEY", "GROK_BASE_URL", "/v1/chat/completions"),
        ("groq", "GROQ_API_KEY", "GROQ_BASE_URL", "/v1/chat/completions"),
        ("mistral", "MISTRAL_API_KEY", "MISTRAL_BASE_URL", "/v1/chat/completions"),
        ("openrouter", "OPENROUTER_API_KEY", "OPENROUTER_BASE_URL", "/v1/chat/completions"),
    ],
)
@pytest.mark.parametrize("end", ["", "/", "/v1"])
async def test_a_call_goes_to_the_address_of_the_environment(
    name: str, key: str, variable: str, path: str, end: str
) -> None:
    async with (
        StubServer() as proxy,
        ProviderRegistry.from_env({key: KEY, variable: proxy.url + end}) as registry,
    ):
        response = await registry.get(name).complete("hi")
        (request,) = proxy.requests
    assert response.content
    assert (request.path, KEY in str(request.headers)) == (path, True)
