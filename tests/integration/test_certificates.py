"""Whose certificates the lanes believe, and what is said of one that they do not."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from orchestify.core.providers import ProviderConfig
from orchestify.errors import APIConnectionError, ConfigError
from orchestify.lanes.direct import OpenAILane
from orchestify.values import CompletionRequest, LLMMessage
from tests.any_path import AnyPathServer
from tests.certificates import unsigned

ASKED = CompletionRequest(messages=(LLMMessage("user", "hi"),), model="m", timeout_s=30)
ANSWER = b'{"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}'


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    return unsigned(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def lane(base_url: str) -> OpenAILane:
    config = {"type": "openai", "api_key": "k", "default_model": "m", "base_url": base_url}
    return OpenAILane("it", ProviderConfig.model_validate(config))


async def answered(base_url: str) -> str:
    where = lane(base_url)
    try:
        return (await where.send(ASKED)).content
    finally:
        await where.aclose()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
async def test_an_authority_that_the_environment_names_is_believed(
    monkeypatch: pytest.MonkeyPatch, tls: tuple[ssl.SSLContext, Path], name: str
) -> None:
    monkeypatch.setenv(name, str(tls[1]))
    async with AnyPathServer(ANSWER, tls=tls[0]) as server:
        assert await answered(server.url) == "hi"


async def test_of_two_that_are_named_both_are_believed(
    monkeypatch: pytest.MonkeyPatch, tls: tuple[ssl.SSLContext, Path], tmp_path: Path
) -> None:
    _, other = unsigned(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls[1]))
    async with AnyPathServer(ANSWER, tls=tls[0]) as server:
        assert await answered(server.url) == "hi"


async def test_what_is_named_replaces_the_systems_authorities(
    monkeypatch: pytest.MonkeyPatch, tls: tuple[ssl.SSLContext, Path], tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(unsigned(tmp_path)[1]))
    async with AnyPathServer(ANSWER, tls=tls[0]) as server:
        with pytest.raises(APIConnectionError, match="could not be verified"):
            await answered(server.url)


async def test_an_untrusted_certificate_is_told_with_the_way_to_trust_it(
    tls: tuple[ssl.SSLContext, Path],
) -> None:
    async with AnyPathServer(ANSWER, tls=tls[0]) as server:
        with pytest.raises(APIConnectionError) as caught:
            await answered(server.url)
    said = str(caught.value)
    assert "certificate could not be verified: self" in said
    assert "SSL_CERT_FILE or REQUESTS_CA_BUNDLE" in said
    assert (caught.value.retryable, caught.value.may_be_billed) == (False, False)


async def test_plain_http_where_tls_is_expected_is_told_as_that() -> None:
    async with AnyPathServer(ANSWER) as server:
        with pytest.raises(APIConnectionError, match="no TLS connection") as caught:
            await answered(server.url.replace("http://", "https://"))
    assert not caught.value.retryable


@pytest.mark.parametrize("holds", [None, "no certificate"])
def test_a_variable_that_names_no_certificates_is_a_problem_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, holds: str | None
) -> None:
    if holds is not None:
        (tmp_path / "ca.pem").write_text(holds)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with pytest.raises(ConfigError, match="REQUESTS_CA_BUNDLE in the environment"):
        lane("https://api.example.com")
