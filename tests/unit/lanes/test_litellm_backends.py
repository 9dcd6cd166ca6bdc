"""Which client a backend takes, and what is told of those that take none."""

from __future__ import annotations

from typing import Any

import pytest

from orchestify.core.config import parse_config
from orchestify.lanes.http.proxies import are_proxies_http
from orchestify.lanes.litellm.backends import client_kind, client_notes


@pytest.mark.parametrize(
    ("backend", "options", "mode", "kind"),
    [
        ("gemini", {}, "chat", "handler"),
        ("openai", {"top_k": 4}, "", "openai"),
        ("azure", {"api_version": "2024"}, "", "azure"),
        ("cohere", {}, "", None),
        ("nobody-knows-this", {}, "", None),
        ("openai", {}, "responses", None),
        ("azure", {"azure_ad_token": "x"}, "", None),
        ("openai", {"ssl_verify": False}, "", None),
    ],
)
def test_a_backend_takes_its_client(
    backend: str, options: dict[str, Any], mode: str, kind: str | None
) -> None:
    assert client_kind(backend, options, mode) == kind


def test_a_provider_whose_backend_takes_none_is_told_in_one_line() -> None:
    config = parse_config(
        """
        providers:
          fine: {type: litellm, default_model: gemini/gemini-2.5-flash, api_key: k}
          direct: {type: openai, default_model: gpt-4o, api_key: k}
          engine: {type: openai, engine: litellm, default_model: gpt-4o, api_key: k}
          bare: {type: litellm, default_model: gpt-4o, api_key: k}
          off: {type: litellm, default_model: cohere/command-a, api_key: k, enabled: false}
          other: {type: litellm, default_model: cohere/command-a, api_key: k}
          bridged: {type: litellm, default_model: openai/responses/gpt-4o, api_key: k}
        """
    )
    lost = (
        "takes no client of ours: redirects are followed, the answer has no bound, and usage is "
        "LiteLLM's word"
    )
    assert client_notes(config) == (
        f"providers.other: through LiteLLM cohere {lost}",
        f"providers.bridged: through LiteLLM openai {lost}",
    )


@pytest.mark.parametrize(
    ("proxy", "is_http"),
    [("http://there:3128", True), ("there:3128", True), ("socks5://there:1080", False)],
)
def test_a_proxy_of_another_kind_is_left_to_litellm(
    monkeypatch: pytest.MonkeyPatch, proxy: str, is_http: bool
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("all_proxy", proxy)
    assert are_proxies_http() is is_http
