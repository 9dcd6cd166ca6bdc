"""Which provider a model's name leads to, and what is said where it leads nowhere."""

from __future__ import annotations

import pytest

from orchestify import ProviderRegistry
from orchestify.core.config import Config, parse_config
from orchestify.core.warnings import config_warnings
from orchestify.errors import AgentNotFoundError, ConfigError, ModelNotFoundError
from orchestify.models.model_warnings import model_warnings
from orchestify.providers.explain import explain
from orchestify.providers.mock import MockProvider
from orchestify.testing import StubServer
from orchestify.values import LLMMessage

CONFIG = """\
providers:
  main: {type: openai, api_key: sk, default_model: gpt-4o}
  second: {type: openai, api_key: sk, default_model: gpt-4o}
  claude: {type: anthropic, api_key: sk, default_model: claude-sonnet-4-6}
  local: {type: openai, base_url: "http://127.0.0.1:9/v1", default_model: /models/llama}
  grok: {type: xai, api_key: sk, engine: litellm}
  gone: {type: mock, enabled: false}
models:
  fast: {provider: second, model: gpt-4o-mini}
  claude-*: {provider: main, model: "via/claude-*"}
  claude-haiku-*: {provider: second, model: gpt-4.1-nano}
  claude-opus-4-6: {provider: local, model: opus}
  lost: {provider: gone, model: gone}
agents:
  planner: {provider: main}
"""


def config_with(more: str = "") -> Config:
    return parse_config(CONFIG + more, name="config.yaml", environ={})


def registry_with(more: str = "") -> ProviderRegistry:
    return ProviderRegistry.from_config(config_with(more))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("gpt-4o", "main/gpt-4o"),
        ("second/gpt-4o", "second/gpt-4o"),
        ("second/anything", "second/anything"),
        ("fast", "second/gpt-4o-mini"),
        ("claude-sonnet-4-6", "claude/claude-sonnet-4-6"),  # configured: no alias with * has it
        ("claude-sonnet-4-5", "main/via/claude-sonnet-4-5"),
        ("claude-haiku-4-5-20251001", "second/gpt-4.1-nano"),  # of the longest that fits
        ("claude-opus-4-6", "local/opus"),  # of that very name
        ("claude/claude-opus-4-6", "claude/claude-opus-4-6"),
        ("/models/llama", "local//models/llama"),
        ("local//models/other", "local//models/other"),
        ("o3", "main/o3"),  # LiteLLM's map has it of OpenAI
    ],
)
def test_a_name_leads_to_its_provider(name: str, place: str) -> None:
    assert (
        repr(registry_with().get_for_model(name)) == f"<Route {place.partition('/')[0]}: {place}>"
    )


def test_the_default_provider_goes_first() -> None:
    found = registry_with("default_provider: second\n").get_for_model("gpt-4o")
    assert found.provider_id == "second"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gpt-40", "no provider has this model; did you mean 'gpt-4o'?"),
        ("fsat", "did you mean 'fast'?"),
        ("mian/gpt-4o", "did you mean 'main/gpt-4o'?"),
        ("nobody", "there are fast, claude-*, claude-haiku-*, claude-opus-4-6, claude/claude-son"),
        ("lost", "'lost' stands for a model at gone, which is not on"),
        ("gone/gone", "no provider has this model"),
        ("", "no provider has this model"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_there_is(name: str, said: str) -> None:
    with pytest.raises(ModelNotFoundError) as raised:
        registry_with().get_for_model(name)
    assert said in str(raised.value)


async def test_what_a_provider_has_listed_leads_to_it() -> None:
    with StubServer.in_thread(StubServer(models=["made-here"])) as server:
        text = (
            f'providers: {{it: {{type: openai, api_key: sk, base_url: "{server.openai_url}", '
            "default_model: other}}"
        )
        async with ProviderRegistry.from_config(parse_config(text)) as registry:
            with pytest.raises(ModelNotFoundError):
                registry.get_for_model("made-here")
            await registry.check_health()
            answer = await registry.get_for_model("made-here").complete("hello")
    assert answer.content == "made-here read 1 words."


async def test_a_model_whose_name_begins_with_a_slash_is_called_by_it() -> None:
    with StubServer.in_thread() as server:
        text = (
            f'providers: {{it: {{type: openai, api_key: sk, base_url: "{server.openai_url}", '
            "default_model: /models/llama}}"
        )
        async with ProviderRegistry.from_config(parse_config(text)) as registry:
            await registry.get_for_model("/models/llama").complete([LLMMessage("user", "hello")])
        assert server.requests[-1].model == "/models/llama"


def test_a_provider_that_was_registered_is_found_by_its_model() -> None:
    registry = ProviderRegistry()
    registry.register("own", MockProvider("own", {"default_model": "scripted"}))
    assert registry.get_for_model("scripted").provider_id == "own"


def test_explain_knows_an_alias_and_where_it_is_written() -> None:
    plan = explain(config_with(), "fast")
    target = plan.targets[0]
    origins = {each.name: str(each.origin) for each in target.settings}
    assert (plan.agent, plan.model) == ("", "fast")
    assert (target.provider, target.model) == ("second", "gpt-4o-mini")
    assert (origins["provider"], origins["model"]) == ("config.yaml:9:10", "config.yaml:9:28")


def test_explain_knows_a_model() -> None:
    target = explain(config_with(), "claude/claude-sonnet-4-6").targets[0]
    assert (target.provider, target.model) == ("claude", "claude-sonnet-4-6")


def test_explain_says_what_may_be_meant() -> None:
    with pytest.raises(AgentNotFoundError, match="nor is it a model; did you mean 'planner'"):
        explain(config_with(), "planer")


def test_check_tells_of_an_alias_whose_provider_is_off() -> None:
    assert config_warnings(config_with())[-1] == (
        "config.yaml:13:10: models.lost.provider: gone is off (enabled: false), so this name leads "
        "nowhere"
    )


def test_check_looks_at_the_models_of_aliases() -> None:
    wrong = parse_config(
        "providers: {main: {type: openai, api_key: sk, default_model: gpt-4o}}\n"
        "models: {fast: {provider: main, model: claude-sonnet-4-6}}\n"
    )
    assert not [each for each in model_warnings(config_with()) if "models.fast" in each]
    assert "models.fast.model: no model of OpenAI's" in model_warnings(wrong)[0]


@pytest.mark.parametrize(
    ("alias", "problem"),
    [
        ("f*t: {provider: main, model: x}", "models.…: `*` stands at an alias' end only"),
        ('fast: {provider: main, model: "x-*"}', "models.fast.model: `*` stands for what"),
        ('"f-*": {provider: main, model: "*-*"}', "model: expected `*` once"),
        ("fast: {provider: mian, model: x}", "no such provider; did you mean 'main'?"),
        ("fast: {provider: main}", "models.fast.model: missing"),
        ("fast: {provider: main, modle: x}", "unknown key; did you mean 'model'?"),
        ('" ": {provider: main, model: x}', "expected a name without blanks"),
        ("fast: main", "models.fast: expected"),
    ],
)
def test_an_alias_that_cannot_be_is_a_problem_at_its_line(alias: str, problem: str) -> None:
    text = f"providers: {{main: {{type: mock}}}}\nmodels:\n  {alias}\n"
    with pytest.raises(ConfigError) as raised:
        parse_config(text, name="config.yaml")
    assert any(problem in each for each in raised.value.problems), raised.value.problems
    assert raised.value.problems[0].startswith("config.yaml:3:")
