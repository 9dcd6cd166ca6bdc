"""The bounds of a LiteLLM provider that strangers configured."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest

from orchestify.core.addresses import AddressRule
from orchestify.core.providers import ProviderConfig
from orchestify.errors import ConfigError, EndpointRefusedError
from orchestify.lanes.litellm import LiteLLMLane
from orchestify.lanes.litellm.guard import UNREACHABLE, LiteLLMGuard

KEY = "key-of-the-tenant-0123456789"
OWN = "https://mine.openai.azure.com"


def config(model: str = "azure/gpt", base_url: str | None = None, **more: Any) -> ProviderConfig:
    given = {"type": "litellm", "default_model": model, "base_url": base_url, "api_key": KEY}
    return ProviderConfig.model_validate(given | more)


def takes(config: ProviderConfig, rule: AddressRule) -> bool:
    try:
        LiteLLMGuard.of("it", config, rule)
    except ConfigError:
        return False
    return True


def guard(model: str = "azure/gpt", base_url: str | None = OWN) -> LiteLLMGuard:
    return LiteLLMGuard.of("it", config(model, base_url), AddressRule())


@pytest.mark.parametrize(
    ("model", "base_url", "is_fine"),
    [
        ("azure/gpt", "https://mine.openai.azure.com", True),
        ("azure/gpt", "https://mine.cognitiveservices.azure.com/", True),
        ("azure/gpt", "https://mine.services.ai.azure.com/x", True),
        ("azure/gpt", "https://MINE.openai.azure.com.", True),
        ("azure/gpt", "https://openai.azure.com.example.com", False),
        ("azure/gpt", "https://evilopenai.azure.com", False),
        ("azure/gpt", "https://example.com/openai.azure.com", False),
        ("azure/gpt", "https://generativelanguage.googleapis.com", False),
        ("azure/gpt", None, False),
        ("gemini/g", None, True),
        ("gemini/g", "https://generativelanguage.googleapis.com/v1", True),
        ("gemini/g", "https://evilgenerativelanguage.googleapis.com", False),
        ("gemini/g", "https://example.com", False),
        ("ollama_chat/l", None, False),
        ("ollama_chat/l", "https://example.com", False),
        ("ollama_chat/l", "https://allowed.example", True),
        ("ollama_chat/l", "http://10.0.0.7:11434", True),
        ("ollama_chat/l", "http://10.0.0.8:11434", False),
        ("ollama_chat/l", "http://169.254.169.254", False),
    ],
)
def test_only_trusted_hosts_are_taken(model: str, base_url: str | None, is_fine: bool) -> None:
    rule = AddressRule(allowed=("allowed.example", "10.0.0.7"))
    assert takes(config(model, base_url), rule) is is_fine


def test_a_service_on_loopback_only_takes_this_machines_ollama() -> None:
    rule = AddressRule(loopback=True)
    assert takes(config("ollama_chat/l"), rule)
    assert takes(config("ollama_chat/l", "http://127.0.0.1:11434"), rule)
    assert takes(config("ollama_chat/l", "http://192.168.1.7:11434"), rule)
    assert not takes(config("ollama_chat/l", "http://169.254.169.254"), rule)


def test_an_own_host_is_reached_by_https_only() -> None:
    plain = config("azure/gpt", "http://mine.openai.azure.com", allow_http=True)
    assert not takes(plain, AddressRule())


def test_what_is_wrong_with_an_address_is_told_at_its_key() -> None:
    with pytest.raises(ConfigError, match=r"^providers\.it\.base_url: missing; the address of"):
        LiteLLMGuard.of("it", config(), AddressRule())
    with pytest.raises(ConfigError, match=r"with --allow-endpoint example\.com$"):
        LiteLLMGuard.of("it", config("gemini/g", "https://example.com"), AddressRule())


@pytest.mark.parametrize(
    "given", [{"type": "openai"}, {"type": "anthropic", "default_model": "claude-m"}]
)
def test_another_type_takes_no_way_through_litellm(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="begins with one of azure/, gemini/, ollama_chat/"):
        LiteLLMLane("it", config(engine="litellm", **given), AddressRule())


def test_the_guard_shows_no_key() -> None:
    assert KEY not in repr(guard())


def told(url: str, **headers: str) -> httpx.Request:
    """A request as LiteLLM writes it, of the address that it is told."""
    return httpx.Request("POST", url, headers=headers)


@pytest.mark.parametrize(
    ("base_url", "path", "real"),
    [
        (OWN, "/openai/d/gpt?api-version=1", f"{OWN}/openai/d/gpt?api-version=1"),
        (f"{OWN}:443/", "/x", f"{OWN}:443/x"),
        ("https://MINE.openai.azure.com.", "/x", "https://MINE.openai.azure.com./x"),
        (f"{OWN}/gateway/", "/x%2Fy", f"{OWN}/gateway/x%2Fy"),
    ],
)
def test_a_request_is_directed_to_the_provider(base_url: str, path: str, real: str) -> None:
    bounds = guard("azure/gpt", base_url)
    assert bounds.directed(told(bounds.base_for_litellm + path)) == real


@pytest.mark.parametrize(
    "url",
    [
        OWN,
        "https://other.openai.azure.com/",
        "https://login.microsoftonline.com/",
        "http://169.254.169.254/latest",
        f"{UNREACHABLE}:8443/",
        UNREACHABLE.replace("https", "http"),
        UNREACHABLE.replace("https://", "https://x."),
        f"{UNREACHABLE}@169.254.169.254/",
    ],
)
def test_a_request_elsewhere_than_litellm_was_told_does_not_leave(url: str) -> None:
    with pytest.raises(EndpointRefusedError, match="another host"):
        guard().directed(told(url))


def test_the_address_that_litellm_is_told_leads_nowhere() -> None:
    for base_url in (OWN, "https://mine.openai.azure.com:8443/x"):
        assert OWN not in guard("azure/gpt", base_url).base_for_litellm
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo(UNREACHABLE.removeprefix("https://"), 443)


def test_anothers_credentials_do_not_leave() -> None:
    headers = {"Authorization": "Bearer of-the-server", "api-key": KEY, "x-other": "kept"}
    request = told(UNREACHABLE, **headers)
    guard().directed(request)
    assert "authorization" not in request.headers
    assert (request.headers["api-key"], request.headers["x-other"]) == (KEY, "kept")


def test_the_own_key_leaves_in_either_form() -> None:
    headers = {"Authorization": f"Bearer {KEY}", "x-goog-api-key": KEY}
    request = told(UNREACHABLE, **headers)
    guard().directed(request)
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["x-goog-api-key"] == KEY


def test_geminis_address_is_given_and_not_looked_for() -> None:
    bounds = guard("gemini/g", None)
    assert bounds.api_base == "https://generativelanguage.googleapis.com/v1beta"
    assert bounds.base_for_litellm == f"{UNREACHABLE}/v1beta"
