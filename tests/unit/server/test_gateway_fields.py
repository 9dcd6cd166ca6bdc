"""Where the fields of a chat completion go that have no argument of ours."""

from __future__ import annotations

from typing import Any

import pytest

from orchestify.core.config import parse_config
from orchestify.errors import InvalidParameterError
from orchestify.providers.explain import lookup_of
from orchestify.server.gateway.chat.fields import passed_on

LOOKUP = lookup_of(
    parse_config(
        """
providers:
  openai: {type: openai, api_key: sk, default_model: gpt-4o}
  vllm: {type: openai, base_url: "http://127.0.0.1:9/v1", default_model: qwen}
  openrouter:
    {type: openai, base_url: "https://openrouter.ai/api/v1", api_key: sk, default_model: x}
  claude: {type: anthropic, api_key: sk, default_model: claude-sonnet-4-5}
  gemini: {type: litellm, api_key: sk, default_model: gemini/gemini-2.5-flash}
""",
        environ={},
    )
)


def asked(providers: str, fields: dict[str, Any], **said: Any) -> Any:
    targets = [LOOKUP.target(name) for name in providers.split()]
    return passed_on(fields, targets, **{"has_own_key": False, "allowed": (), **said})


@pytest.mark.parametrize(
    ("providers", "fields"),
    [
        ("openai", {"user": "u", "frequency_penalty": 0.5, "verbosity": "low"}),
        ("openai", {"service_tier": "flex"}),
        ("vllm", {"top_k": 5, "min_p": 0.1, "chat_template_kwargs": {"enable_thinking": False}}),
        ("vllm", {"guided_json": {"type": "object"}}),
        ("openrouter", {"top_k": 5}),
        ("vllm openrouter", {"top_k": 5}),
        ("claude", {"top_k": 5}),
        ("claude", {"service_tier": "standard_only"}),
        ("gemini", {"top_k": 5}),
        ("vllm claude gemini", {"top_k": 5}),
    ],
)
def test_a_field_goes_where_every_target_takes_it(providers: str, fields: dict[str, Any]) -> None:
    assert asked(providers, fields) == (fields, ())


@pytest.mark.parametrize(
    ("providers", "fields", "said"),
    [
        ("openai", {"top_k": 5}, "top_k: does not go with the operator's key"),
        ("openai", {"store": True}, "store: does not go with the operator's key"),
        ("openai", {"nobody_knows": 1}, "nobody_knows: does not go with the operator's key"),
        ("openai", {"service_tier": "priority"}, "service_tier: does not go with the operator"),
        ("vllm openai", {"top_k": 5}, "top_k: does not go with"),
        ("vllm claude", {"min_p": 0.1}, "min_p: is not supported by the provider"),
        ("claude", {"service_tier": "flex"}, "service_tier: is not supported by the provider"),
        ("claude", {"guided_json": {}}, "guided_json: is not supported by the provider"),
        ("gemini", {"chat_template_kwargs": {}}, "chat_template_kwargs: is not supported"),
        ("", {"top_k": 5}, "top_k: is not supported by the provider"),
        ("openai", {"api_key": "sk"}, "api_key: is not supported by the provider"),
    ],
)
def test_what_a_target_does_not_take_is_refused(
    providers: str, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidParameterError) as raised:
        asked(providers, fields)
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize("providers", ["claude", "gemini", "openai claude", ""])
def test_what_an_answer_can_do_without_is_left_out_and_named(providers: str) -> None:
    fields = {"user": "u", "presence_penalty": 0.5}
    assert asked(providers, fields) == ({}, ("user_dropped", "presence_penalty_dropped"))


def test_what_says_no_more_than_silence_is_not_named() -> None:
    fields = {"frequency_penalty": 0, "logit_bias": {}, "store": False, "service_tier": "auto"}
    assert asked("claude", {**fields, "user": None}) == ({}, ())


@pytest.mark.parametrize(
    "fields", [{"store": True}, {"service_tier": "priority"}, {"nobody_knows": {"a": [1]}}]
)
def test_with_the_tenants_own_key_every_field_goes(fields: dict[str, Any]) -> None:
    assert asked("openai vllm", fields, has_own_key=True) == (fields, ())


@pytest.mark.parametrize("name", ["api_key", "base_url", "timeout", "num_retries"])
def test_no_key_leads_a_call_elsewhere(name: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"{name}: is not supported"):
        asked("openai", {name: "x"}, has_own_key=True)


def test_the_operator_may_allow_a_field() -> None:
    fields = {"store": True, "service_tier": "priority"}
    assert asked("openai", fields, allowed=("store", "service_tier")) == (fields, ())
