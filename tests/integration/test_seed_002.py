"""The examples of the seed document "LLM Provider Layer Architecture", as printed, for each type.

The snippets are the seed's, letter by letter. They run one after the other in one coroutine, in a
directory with a `config` folder, as a reader would run them.
"""

from __future__ import annotations

import asyncio
import logging
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestify.core.config import ProviderConfig, ProvidersConfig, load_config
from orchestify.providers import (
    APIConnectionError,
    APIError,
    ClaudeProvider,
    LiteLLMProvider,
    LLMMessage,
    LLMProvider,
    LLMResponse,
    OpenAIProvider,
    ProviderRegistry,
    RateLimitError,
    TokenUsage,
)
from orchestify.testing import StubServer
from tests.lanes import LITELLMS_OWN_WARNINGS, alone, collect_quietly

pytestmark = LITELLMS_OWN_WARNINGS

YAML = """\
providers:
  claude_main:
    type: anthropic
    api_key: ${ANTHROPIC_API_KEY}
    default_model: claude-3-5-sonnet
    max_tokens: 8192
  
  openai_main:
    type: openai
    api_key: ${OPENAI_API_KEY}
    default_model: gpt-4o
    max_tokens: 8192
    
  azure:
    type: litellm
    api_key: ${AZURE_API_KEY}
    default_model: azure/gpt-4
    base_url: https://myorg.openai.azure.com
"""  # noqa: W293 - as printed

BASIC_USAGE = """\
from orchestify.providers import ProviderRegistry, LLMMessage
from orchestify.core.config import load_config
from pathlib import Path

# Load config and create registry
config = load_config(Path("config"))
registry = ProviderRegistry.from_config(config.providers)

# Get a provider
provider = registry.get("claude_main")

# Create a message
message = LLMMessage(role="user", content="Hello, Claude!")

# Get a completion
response = await provider.complete(
    messages=[message],
    temperature=0.7,
    max_tokens=1024
)

print(f"Response: {response.content}")
print(f"Tokens used: {response.tokens_input + response.tokens_output}")
"""

TOOL_CALLING = """\
# Define tools
tools = [
    {
        "name": "get_weather",
        "description": "Get weather for a location",
        "input_schema": {
            "type": "object",
            "properties": {
                "location": {"type": "string"},
            },
            "required": ["location"],
        },
    }
]

# Get provider with tool support
if provider.supports_tools():
    response = await provider.complete(
        messages=[message],
        tools=tools
    )
"""

STREAMING = """\
# Stream a response
async for chunk in provider.stream(
    messages=[message],
    max_tokens=2048
):
    print(chunk, end="", flush=True)
"""

USAGE_TRACKING = """\
# Get usage for a single provider
usage = provider.get_usage()
print(f"Total cost: ${usage.total_cost_usd:.2f}")
print(f"Calls made: {usage.call_count}")

# Get usage across all providers
summary = registry.get_usage_summary()
print(f"Total cost across all: ${summary['total']['cost_usd']:.2f}")

# Reset usage
registry.reset_all_usage()
"""

LOGGING = """\
import logging

logger = logging.getLogger(__name__)
# Logs at DEBUG, INFO, WARNING, and ERROR levels
"""

TYPES: dict[str, str] = {
    "anthropic": "{type: anthropic, default_model: claude-sonnet-4-5, base_url: '${ANTHROPIC}'",
    "openai": "{type: openai, default_model: gpt-4o, base_url: '${OPENAI}'",
    "litellm": "{type: litellm, default_model: openai/gpt-4o, base_url: '${OPENAI}'",
}
NAMES = {
    "anthropic": "claude-sonnet-4-5",
    "openai": "gpt-4o",
    "litellm": "gpt-4o",
}


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer.in_thread() as server:
        yield server
    collect_quietly()


@pytest.fixture
def folder(server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the configuration's folder; the working directory is the one that holds it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTHROPIC", server.anthropic_url)
    monkeypatch.setenv("OPENAI", server.openai_url)
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "AZURE_API_KEY"):
        monkeypatch.setenv(name, f"any-{name.lower()}")
    (tmp_path / "config").mkdir()
    return tmp_path / "config"


@pytest.fixture(params=TYPES)
def kind(request: pytest.FixtureRequest, folder: Path) -> str:
    """Write a configuration whose `claude_main` is of this type."""
    kind = str(request.param)
    provider = f"{TYPES[kind]}, api_key: '${{ANTHROPIC_API_KEY}}', max_tokens: 8192}}"
    (folder / "providers.yaml").write_text(f"providers:\n  claude_main: {provider}\n")
    return kind


def run(*snippets: str) -> dict[str, Any]:
    """Run snippets in one coroutine; return the names they leave."""
    body = textwrap.indent("\n".join(snippets), "    ")
    code = compile(f"async def example():\n{body}\n    return locals()", "<seed>", "exec")
    names: dict[str, Any] = {"__name__": "example"}
    exec(code, names)  # noqa: S102 - the examples are text

    async def example() -> dict[str, Any]:
        left: dict[str, Any] = await names["example"]()
        await left["registry"].aclose()
        return left

    return asyncio.run(alone(example()))


def test_all_examples_run_as_printed(
    kind: str, server: StubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    run(BASIC_USAGE, TOOL_CALLING, STREAMING, USAGE_TRACKING, LOGGING)
    printed = capsys.readouterr().out
    model = NAMES[kind]
    assert printed.startswith(f"Response: {model} read 2 words.\nTokens used: ")
    assert f"\n{model} read 2 words.Total cost: $0.00\nCalls made: 3\n" in printed
    assert printed.endswith("Total cost across all: $0.00\n")
    assert [request.status for request in server.requests] == [200, 200, 200]


def test_arguments_of_the_examples_reach_the_provider(kind: str, server: StubServer) -> None:
    run(BASIC_USAGE, TOOL_CALLING, STREAMING)
    first, second, third = (request.body for request in server.requests)
    assert (first["temperature"], first["max_tokens"]) == (0.7, 1024)
    assert (second["max_tokens"], len(second["tools"])) == (8192, 1)
    assert (third["max_tokens"], third["stream"]) == (2048, True)


def test_usage_of_the_examples_is_what_the_server_billed(kind: str, server: StubServer) -> None:
    left = run(BASIC_USAGE, TOOL_CALLING, STREAMING, USAGE_TRACKING)
    billed = server.account.billed
    usage = left["usage"]
    assert (usage.total_input, usage.total_output) == (billed.input_tokens, billed.output_tokens)
    assert usage.total_cost_usd > 0
    assert left["summary"]["by_provider"]["claude_main"]["calls"] == 3
    assert left["registry"].get_usage_summary()["total"]["calls"] == 0


def test_tool_example_gets_a_tool_call(
    kind: str, server: StubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    left = run(BASIC_USAGE.replace("Hello, Claude!", "the weather in Oslo?"), TOOL_CALLING)
    (call,) = left["response"].tool_calls
    assert (call.name, dict(call.arguments)) == ("get_weather", {"location": "stub"})


def test_configuration_loads_as_printed(folder: Path) -> None:
    (folder / "providers.yaml").write_text(YAML)
    registry = ProviderRegistry.from_config(load_config(folder).providers)
    assert registry.list_providers() == ["claude_main", "openai_main", "azure"]
    assert isinstance(registry.get("claude_main"), ClaudeProvider)
    assert isinstance(registry.get("openai_main"), OpenAIProvider)
    assert isinstance(registry.get("azure"), LiteLLMProvider)
    types = [registry.get(name).provider_type for name in registry.list_providers()]
    assert types == ["anthropic", "openai", "litellm"]


def test_configuration_is_also_built_in_code(folder: Path) -> None:
    config = ProvidersConfig(
        providers={
            "claude_main": ProviderConfig(
                type="anthropic",
                api_key="${ANTHROPIC_API_KEY}",  # type: ignore[arg-type] # a text becomes a secret
                default_model="claude-3-5-sonnet",
                max_tokens=8192,
                base_url=None,
            )
        }
    )
    key = config.providers["claude_main"].api_key
    assert key is not None
    assert key.get_secret_value() == "any-anthropic_api_key"


async def test_registry_checks_connectivity_when_asked(kind: str, server: StubServer) -> None:
    config = load_config(Path("config"))
    registry = ProviderRegistry.from_config(config.providers, validate_connectivity=True)
    assert [request.path for request in server.requests] == ["/v1/models"]
    await registry.aclose()


def test_registry_with_a_wrong_key_fails_its_check(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "wrong-0123456789")
    config = load_config(Path("config"))
    with pytest.raises(ValueError, match="claude_main"):
        ProviderRegistry.from_config(config.providers, validate_connectivity=True)


def test_agent_gets_its_provider_and_model(folder: Path, server: StubServer) -> None:
    (folder / "providers.yaml").write_text(YAML)
    (folder / "agents.yaml").write_text(
        "agents:\n  reviewer: {provider: openai_main, model: gpt-4o-mini, temperature: 0.1}\n"
    )
    config = load_config(folder)
    registry = ProviderRegistry.from_config(config.providers)
    agent = registry.get_for_agent("reviewer", config.agents)
    assert agent.provider_type == "openai"
    assert agent.supports_tools()


def test_errors_are_those_of_the_seed(folder: Path) -> None:
    (folder / "providers.yaml").write_text(YAML)
    config = load_config(folder)
    registry = ProviderRegistry.from_config(config.providers)
    with pytest.raises(KeyError):
        registry.get("nobody")
    with pytest.raises(KeyError):
        registry.get_for_agent("nobody", config.agents)
    with pytest.raises(ValueError, match="temperature"):
        registry.get("claude_main").complete_sync("hi", temperature=-1)
    assert issubclass(RateLimitError, APIError)
    assert issubclass(APIConnectionError, APIError)


def test_values_are_those_of_the_seed() -> None:
    message = LLMMessage("user", "hi")
    response = LLMResponse("hello", "gpt-4o", 3, 2, "stop", {"id": 1})
    usage = TokenUsage()
    assert (message.role, message.content) == ("user", "hi")
    assert (response.content, response.model, response.tokens_input) == ("hello", "gpt-4o", 3)
    assert (response.tokens_output, response.finish_reason) == (2, "stop")
    assert response.raw_response == {"id": 1}
    assert LLMResponse("a", "b", 1, 2, "stop").raw_response is None
    assert (usage.total_input, usage.total_output) == (0, 0)
    assert (usage.total_cost_usd, usage.call_count) == (0.0, 0)


async def test_provider_of_the_seeds_interface_is_registered_and_counted() -> None:
    class Host(LLMProvider):
        """What a host wrote against the seed's interface."""

        @property
        def provider_type(self) -> str:
            return "host"

        async def complete(  # type: ignore[override]
            self,
            messages: list[LLMMessage],
            model: str | None = None,
            temperature: float = 0.7,
            max_tokens: int = 8192,
            tools: list[dict[str, Any]] | None = None,
            thinking: bool = False,
        ) -> LLMResponse:
            return LLMResponse(f"{len(messages)} messages", "host-1", 7, 3, "stop")

    registry = ProviderRegistry()
    registry.register("mine", Host())
    response = await registry.get("mine").complete([LLMMessage("user", "hi")])
    assert response.content == "1 messages"
    assert registry.get_total_usage()["mine"].total_input == 7
    assert registry.get("mine").get_usage().call_count == 1
    registry.reset_all_usage()
    assert registry.get_total_usage()["mine"].total_input == 0
    await registry.aclose()


def test_debug_logging_as_the_seed_enables_it_shows_no_key_and_no_prompt(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        run(BASIC_USAGE)
    assert "any-anthropic_api_key" not in caplog.text
    assert "Hello, Claude!" not in caplog.text
