from __future__ import annotations

import pytest
from yarl import URL

from orchestify.errors import ConfigError
from orchestify.lanes.http.proxies import Proxy, proxy_for


@pytest.fixture(autouse=True)
def proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("all_proxy", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")


@pytest.mark.parametrize(
    ("no_proxy", "address"),
    [
        ("api.example.com", "https://api.example.com"),
        (".example.com", "https://api.example.com"),
        ("example.com", "https://api.example.com"),
        ("EXAMPLE.com.", "https://api.example.com."),
        ("a.test, example.com", "https://api.example.com"),
        ("a.test example.com", "https://api.example.com"),
        ("*", "https://api.example.com"),
        ("example.com:443", "https://api.example.com"),
        ("example.com:8443", "https://api.example.com:8443"),
        ("10.1.2.3", "http://10.1.2.3:8000"),
        ("10.1.2.3:8000", "http://10.1.2.3:8000"),
        ("10.0.0.0/8", "http://10.1.2.3:8000"),
        ("10.1.2.9/16", "http://10.1.2.3"),
        ("fd00::/8", "http://[fd00::7]:80"),
        ("fd00::7", "http://[fd00::7]"),
        ("[fd00::7]", "http://[fd00::7]"),
        ("[fd00::7]:8080", "http://[FD00:0::7]:8080"),
        ("*, 127.0.0.1/32", "http://127.0.0.1:1"),
    ],
)
def test_what_no_proxy_names_is_reached_straight(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, address: str
) -> None:
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(URL(address)) == Proxy()


@pytest.mark.parametrize(
    ("no_proxy", "address"),
    [
        ("", "https://api.example.com"),
        ("le.com", "https://api.example.com"),
        ("api.example.com", "https://example.com"),
        ("example.com:8443", "https://api.example.com"),
        ("10.1.2.3:8001", "http://10.1.2.3:8000"),
        ("10.0.0.0/8", "http://11.1.2.3"),
        ("10.0.0.0/8", "http://10.example.com"),
        ("10.0.0.0/99, example.com/8, [, :80", "http://10.1.2.3"),
        ("2.3", "http://10.1.2.3"),
        ("fd00::/8", "http://10.1.2.3"),
        ("*.example.com", "https://api.example.com"),
        (".", "https://api.example.com"),
    ],
)
def test_what_it_does_not_name_goes_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, address: str
) -> None:
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(URL(address)) == Proxy(URL("http://proxy.example:3128"))


def test_the_small_spelling_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.com")
    monkeypatch.setenv("no_proxy", "example.org")
    assert proxy_for(URL("https://example.com")).url is not None
    assert proxy_for(URL("https://example.org")).url is None


def test_a_proxys_password_is_a_header_and_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:pw@proxy.example:3128")
    proxy = proxy_for(URL("https://api.example.com"))
    assert (str(proxy.url), proxy.headers) == (
        "http://proxy.example:3128",
        {"Authorization": "Basic bWU6cHc="},
    )
    assert "bWU6cHc" not in repr(proxy)


def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://proxy.example:1080")
    with pytest.raises(ConfigError, match="http proxies only"):
        proxy_for(URL("https://api.example.com"))
