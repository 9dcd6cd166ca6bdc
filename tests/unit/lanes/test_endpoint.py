from __future__ import annotations

import inspect
import traceback
from typing import Any

import pytest

from orchestify.core.providers import ProviderConfig
from orchestify.errors import ConfigError, InvalidParameterError
from orchestify.lanes.direct import AnthropicLane, OpenAILane
from orchestify.lanes.http.endpoint import check_base_url
from orchestify.lanes.openai.dialects import dialect_of
from orchestify.values import CompletionRequest, LLMMessage, Tool

KEY = "sk-test-0123456789"


def config(**given: Any) -> ProviderConfig:
    defaults = {"type": "openai", "api_key": KEY, "default_model": "m"}
    return ProviderConfig.model_validate(defaults | given)


def openai_url(base_url: str | None) -> str:
    lane = OpenAILane("p", config(base_url=base_url))
    return str(lane._endpoint._url(lane.path))


def anthropic_url(base_url: str | None) -> str:
    lane = AnthropicLane("p", config(type="anthropic", default_model="claude-m", base_url=base_url))
    return str(lane._endpoint._url(lane.path))


@pytest.mark.parametrize(
    ("base_url", "sent_to"),
    [
        (None, "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1/v1", "https://api.openai.com/v1/chat/completions"),
        (
            "https://api.openai.com/v1/chat/completions",
            "https://api.openai.com/v1/chat/completions",
        ),
        ("http://localhost:11434", "http://localhost:11434/v1/chat/completions"),
        ("http://localhost:4000/team/v1", "http://localhost:4000/team/v1/chat/completions"),
        ("https://api.groq.com", "https://api.groq.com/openai/v1/chat/completions"),
        ("https://api.groq.com/openai", "https://api.groq.com/openai/v1/chat/completions"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1/chat/completions"),
        ("https://openrouter.ai", "https://openrouter.ai/api/v1/chat/completions"),
        ("https://api.perplexity.ai", "https://api.perplexity.ai/chat/completions"),
        (
            "https://me.openai.azure.com",
            "https://me.openai.azure.com/openai/v1/chat/completions",
        ),
        (
            "https://me.openai.azure.com/openai/v1?api-version=preview",
            "https://me.openai.azure.com/openai/v1/chat/completions?api-version=preview",
        ),
        (
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        ),
    ],
)
def test_openais_address_has_its_version_once(base_url: str | None, sent_to: str) -> None:
    assert openai_url(base_url) == sent_to


@pytest.mark.parametrize(
    ("base_url", "sent_to"),
    [
        (None, "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1/v1/", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("https://api.deepseek.com/anthropic", "https://api.deepseek.com/anthropic/v1/messages"),
    ],
)
def test_anthropics_address_has_its_version_once(base_url: str | None, sent_to: str) -> None:
    assert anthropic_url(base_url) == sent_to


def test_a_host_is_known_by_its_end_and_not_by_a_part() -> None:
    assert dialect_of("https://eu.api.mistral.ai/v1").seed == "random_seed"
    assert dialect_of("https://api.mistral.ai.example.com/v1").seed == "seed"
    assert dialect_of("https://notapi.mistral.ai/v1").seed == "seed"


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("http://api.example.com", "a key would go over plain http to a public host"),
        ("ftp://api.example.com", "expected an http or https address"),
        ("api.example.com", "expected an http or https address"),
        ("https://me:secret@api.example.com", "credentials do not belong in an address"),
    ],
)
def test_an_address_that_must_not_be_used_is_refused(address: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        check_base_url(address, "p", sends_key=True, allow_http=False)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["http://ollama:11434", "http://127.0.0.1:1", "http://10.0.0.7/v1", "https://api.example.com"],
)
def test_a_key_may_go_to_a_private_host_or_over_tls(address: str) -> None:
    check_base_url(address, "p", sends_key=True, allow_http=False)


def test_plain_http_needs_a_word_or_no_key() -> None:
    check_base_url("http://api.example.com", "p", sends_key=True, allow_http=True)
    check_base_url("http://api.example.com", "p", sends_key=False, allow_http=False)


def _headers(lane: OpenAILane | AnthropicLane) -> dict[str, str]:
    sealed = inspect.getclosurevars(lane._endpoint._sessions._open_session).nonlocals["sealed"]
    return {name: value for name, value in sealed.headers.items() if name != "user-agent"}


def test_each_protocol_sends_the_key_in_its_own_header() -> None:
    assert _headers(OpenAILane("p", config())) == {
        "content-type": "application/json",
        "accept-encoding": "gzip, deflate",
        "authorization": f"Bearer {KEY}",
    }
    assert _headers(AnthropicLane("p", config(type="anthropic", default_model="claude-m"))) == {
        "content-type": "application/json",
        "accept-encoding": "gzip, deflate",
        "anthropic-version": "2023-06-01",
        "x-api-key": KEY,
    }
    azure = OpenAILane("p", config(base_url="https://me.openai.azure.com/openai/v1"))
    assert _headers(azure) == {
        "content-type": "application/json",
        "accept-encoding": "gzip, deflate",
        "api-key": KEY,
    }


def test_configured_headers_win() -> None:
    lane = OpenAILane("p", config(headers={"Authorization": "Basic x", "X-Team": "a"}))
    assert _headers(lane)["authorization"] == "Basic x"
    assert _headers(lane)["x-team"] == "a"


def test_betas_are_added_to_the_configured_ones() -> None:
    lane = AnthropicLane(
        "p",
        config(type="anthropic", default_model="claude-m", headers={"anthropic-beta": "mine-1"}),
    )
    tool = Tool("c", server={"type": "code_execution_20250825", "name": "c"})
    request = CompletionRequest(messages=(), model="m", tools=(tool,))
    assert lane._request_headers(request) == {"anthropic-beta": "mine-1,code-execution-2025-08-25"}
    assert lane._request_headers(CompletionRequest(messages=(), model="m")) is None


def test_no_repr_shows_the_key() -> None:
    lane = OpenAILane("p", config(headers={"x-secret": "topsecretvalue"}))
    shown = f"{lane!r} {vars(lane)!r} {vars(lane._endpoint)!r} {vars(lane._endpoint._sessions)!r}"
    assert KEY not in shown
    assert "topsecretvalue" not in shown


def test_options_are_merged_last_and_none_takes_a_field_out() -> None:
    lane = OpenAILane("p", config(options={"user": "provider", "top_k": 5}))
    request = CompletionRequest(
        messages=(LLMMessage("user", "hi"),),
        model="m",
        seed=1,
        options={"user": "caller", "seed": None},
    )
    assert lane._encoded(request, stream=False) == (
        b'{"model":"m","messages":[{"role":"user","content":"hi"}],"user":"caller","top_k":5}'
    )


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), object()])
async def test_options_that_are_no_json_are_an_error_of_the_caller(value: object) -> None:
    lane = OpenAILane("p", config())
    request = CompletionRequest(
        messages=(LLMMessage("user", "my diagnosis"),), model="m", options={"x": value}
    )
    with pytest.raises(InvalidParameterError, match="no JSON") as caught:
        await lane.send(request)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert KEY not in "".join(shown.format())
    assert "my diagnosis'" not in "".join(shown.format())


def test_a_lone_surrogate_does_not_stop_a_request() -> None:
    lane = OpenAILane("p", config())
    request = CompletionRequest(messages=(LLMMessage("user", "a\ud800b ü"),), model="m")
    assert '"a?b ü"'.encode() in lane._encoded(request, stream=False)
