"""What `check` tells of a configuration that loads elsewhere and whose every call is refused."""

from __future__ import annotations

import pytest

from orchestify.core.config import Config, ProviderConfig, parse_config
from orchestify.core.warnings import config_warnings
from orchestify.errors import ConfigError
from orchestify.providers import ClaudeProvider

NOT_SUBSTITUTED = "not read as a variable and sent as it stands; a variable is written ${NAME}"


def problems(text: str, **environ: str) -> tuple[str, ...]:
    try:
        parse_config(text, name="c.yaml", environ=environ)
    except ConfigError as error:
        return error.problems
    return ()


def provider(**values: str) -> str:
    written = "".join(f"    {key}: {value!r}\n" for key, value in values.items())
    return f"providers:\n  p:\n{written}"


@pytest.mark.parametrize(
    "text",
    [
        "$OPENAI_API_KEY",
        "$(OPENAI_API_KEY)",
        "$env:OPENAI_API_KEY",
        "%OPENAI_API_KEY%",
        "{{ env.OPENAI_API_KEY }}",
        "{{OPENAI_API_KEY}}",
        "<%= ENV.KEY %>",
        "process.env.OPENAI_API_KEY",
        "os.environ['OPENAI_API_KEY']",
        "os.getenv('OPENAI_API_KEY')",
    ],
)
def test_a_variable_in_another_notation_is_no_key(text: str) -> None:
    made = f'providers:\n  p:\n    type: openai\n    default_model: m\n    api_key: "{text}"\n'
    assert problems(made) == (f"c.yaml:5:5: providers.p.api_key: {NOT_SUBSTITUTED}",)


def test_neither_is_it_an_agents_key_or_a_header() -> None:
    text = (
        "providers:\n"
        "  p: {type: openai, default_model: m, api_key: k, headers: {Authorization: Bearer $KEY}}\n"
        "agents: {a: {provider: p, api_key: $KEY}}\n"
    )
    assert problems(text) == (
        f"c.yaml:2:61: providers.p.headers.Authorization: {NOT_SUBSTITUTED}",
        f"c.yaml:3:27: agents.a.api_key: {NOT_SUBSTITUTED}",
    )


def test_nor_in_code() -> None:
    with pytest.raises(ConfigError, match="a variable is written"):
        ProviderConfig(type="openai", default_model="m", api_key="$OPENAI_API_KEY")


@pytest.mark.parametrize("key", ["$ecret", "100%", "sk-$KEY", "{{", "a%b%c"])
def test_a_key_that_only_resembles_one_is_a_key(key: str) -> None:
    assert problems(provider(type="openai", default_model="m", api_key=key)) == ()


def test_what_a_variable_holds_is_a_key_whatever_it_looks_like() -> None:
    text = provider(type="openai", default_model="m", api_key="${KEY}")
    assert problems(text, KEY="$OPENAI_API_KEY") == ()


@pytest.mark.parametrize(
    ("type_", "url", "end"),
    [
        ("openai", "https://api.openai.com/v1/chat/completions", "/chat/completions"),
        ("openai", "http://localhost:8000/v1/chat/completions/", "/chat/completions"),
        ("openai", "https://api.openai.com/v1/responses", "/responses"),
        ("groq", "https://api.groq.com/openai/v1/completions", "/completions"),
        ("anthropic", "https://api.anthropic.com/v1/messages", "/messages"),
    ],
)
def test_an_address_stops_before_the_endpoint(type_: str, url: str, end: str) -> None:
    text = provider(type=type_, default_model="claude-m", base_url=url)
    assert problems(text) == (
        f"c.yaml:5:5: providers.p.base_url: the address goes too far; leave out {end}, which is "
        "added to each request",
    )


def test_an_address_of_litellm_may_have_any_path() -> None:
    url = "https://x.services.ai.azure.com/models/chat/completions"
    assert problems(provider(type="litellm", default_model="azure_ai/m", base_url=url)) == ()


def agent(provider: str, temperature: float) -> str:
    agents = f"agents: {{a: {{provider: p, temperature: {temperature}}}}}"
    return f"providers: {{p: {{{provider}}}}}\n{agents}"


@pytest.mark.parametrize(
    ("provider", "limit"),
    [
        ("type: anthropic, default_model: claude-m", "1"),
        ("type: claude", "1"),
        ("type: openai, default_model: m", "2"),
        ("type: gemini", "2"),
        ("type: deepseek", "2"),
        ("type: openai, default_model: m, base_url: 'https://api.x.ai/v1'", "2"),
        ("type: litellm, default_model: anthropic/claude-opus-4-6", "1"),
        ("type: litellm, default_model: azure/m, base_url: 'https://a.example.com'", "2"),
    ],
)
def test_a_temperature_is_in_its_providers_range(provider: str, limit: str) -> None:
    at = agent(provider, 7)
    assert problems(at)[0].endswith(
        f"agents.a.temperature: expected at most {limit}, the most that this provider takes"
    )
    assert problems(agent(provider, int(limit))) == ()


@pytest.mark.parametrize(
    "provider",
    [
        "type: mock",
        "type: openai, default_model: m, engine: mock",
        "type: openai, default_model: m, base_url: 'http://localhost:8000/v1'",
        "type: anthropic, default_model: m, base_url: 'https://proxy.example.com'",
        "type: ollama",
        "type: litellm, default_model: unheard_of/m",
    ],
)
def test_a_server_whose_range_nobody_knows_gets_any_temperature(provider: str) -> None:
    assert problems(agent(provider, 7)) == ()


def test_a_temperature_that_a_fallback_refuses_is_noted() -> None:
    text = (
        "providers:\n"
        "  o: {type: openai, default_model: m, api_key: k}\n"
        "  c: {type: claude, api_key: k}\n"
        "agents:\n"
        "  a: {provider: o, temperature: 1.5, fallback: [c]}\n"
    )
    assert config_warnings(parse_config(text, name="c.yaml", environ={})) == (
        "c.yaml:5:49: agents.a.fallback.0: c takes a temperature of at most 1 and will refuse this "
        "agent's",
    )


NO_CLAUDE = "no model of Anthropic's, where it goes: their names begin with claude-"


class TestClaudeModels:
    def test_a_default_that_is_no_claude_is_a_problem(self) -> None:
        assert problems(provider(type="anthropic", default_model="gpt-4o")) == (
            f"c.yaml:4:5: providers.p.default_model: {NO_CLAUDE}",
        )

    def test_an_agents_models_are_looked_at_too(self) -> None:
        text = """
providers: {p: {type: claude}, q: {type: claude}}
agents:
  a:
    provider: p
    model: gpt-4o
    fallback: [{provider: q, model: grok-4}]
"""
        assert problems(text) == (
            f"c.yaml:6:5: agents.a.model: {NO_CLAUDE}",
            f"c.yaml:7:30: agents.a.fallback.0.model: {NO_CLAUDE}",
        )

    @pytest.mark.parametrize(
        "rest",
        [
            "default_model: claude-sonnet-9-9",
            "default_model: anthropic/claude-sonnet-4-6",
            "default_model: own, base_url: 'https://claude.example.com'",
            "default_model: any, engine: mock",
            "default_model: any, enabled: false",
            "default_model: claude-x, base_url: 'https://api.anthropic.com/v1'",
        ],
    )
    def test_what_may_be_claudes_is_no_problem(self, rest: str) -> None:
        assert problems(f"providers: {{p: {{type: anthropic, {rest}}}}}") == ()

    def test_in_code_it_is_refused_as_well(self) -> None:
        with pytest.raises(ConfigError, match="no model of Anthropic's"):
            ClaudeProvider("claude", {"default_model": "gpt-4o", "api_key": "k"})


class TestUnusedProviders:
    TEXT = """
providers:
  used: {type: claude, api_key: "${SET}"}
  spare: {type: deepseek, api_key: "${NOT_SET}"}
"""

    def load(self, more: str) -> Config:
        return parse_config(self.TEXT + more, name="c.yaml", environ={"SET": "key"})

    def test_an_unset_variable_there_is_a_note(self) -> None:
        config = self.load("agents: {a: {provider: used}}")
        assert config.providers.off == {"spare": "NOT_SET is not set"}
        assert config_warnings(config) == (
            "c.yaml:4:3: providers.spare: NOT_SET is not set; no agent uses it, so it is off",
        )

    @pytest.mark.parametrize(
        "more",
        [
            "",
            "agents: {}",
            "agents: {a: {provider: spare}}",
            "agents: {a: {provider: used, fallback: [spare]}}",
            "agents: {a: {provider: used, fallback: [{provider: spare}]}}",
            "agents: {a: {}}\ndefault_provider: spare",
            "agents: {a: {provider: used}}\ndefault_provider: spare",
            "agents: {a: {provider: used, enabled: false}}",
            "agents: {a: {provider: '${WHICH:-used}'}}",
        ],
    )
    def test_where_it_may_be_used_it_is_a_problem(self, more: str) -> None:
        with pytest.raises(ConfigError, match=r"c\.yaml:4:\d+: providers\.spare\.api_key: .* NOT"):
            self.load(more)

    def test_one_that_is_off_says_so_itself(self) -> None:
        text = self.TEXT.replace("deepseek,", "deepseek, enabled: auto,")
        config = parse_config(
            text + "agents: {a: {provider: used}}", name="c.yaml", environ={"SET": "key"}
        )
        assert config_warnings(config) == ()

    @pytest.mark.parametrize("wrong", ["[1]", "text", "{provider: [used]}", "{fallback: 3}"])
    def test_what_is_no_agent_is_told_as_ever(self, wrong: str) -> None:
        with pytest.raises(ConfigError, match="agents"):
            self.load(f"agents: {{a: {wrong}, b: {{provider: used}}}}")

    def test_what_is_no_provider_is_told_as_ever(self) -> None:
        with pytest.raises(ConfigError, match=r"providers\.p"):
            parse_config("{providers: {p: 'enabled', q: {type: mock}}, agents: {a: {provider: q}}}")
