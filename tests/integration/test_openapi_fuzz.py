"""Every endpoint of the OpenAPI document, with whatever fits its schemas and what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from orchestify.testing import StubServer
from tests.endpoints import TABLE
from tests.extras import needs
from tests.servers import AGENTS, PROVIDERS, serving_in_thread
from tests.tenants import DATABASES, database_at

needs("schemathesis", "peers")
import schemathesis  # noqa: E402 - an extra
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi import checks  # noqa: E402

KEYS = ("sk-made-up-provider-key-0123456789", "sk-made-up-agent-key-9876543210")
# A page, and what is only refused in words.
UNDOCUMENTED = ("GET /", "POST /v1/responses/input_tokens", "POST /v1/responses/compact")
ENDPOINTS = [
    each.replace(":path", "")
    for each in TABLE
    if "openapi.json" not in each
    and each not in UNDOCUMENTED
    and not each.startswith("HEAD ")  # of GET: no document of its own
]
# The last takes any text as `after`: what is no text in the schema is text in a query.
WITHOUT_INPUT = ("GET /healthz", "GET /readyz", "GET /api/v1/tokens")
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]
bounded = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """A service with rows that hold keys: those that stay, and those that may be changed."""

    schema: Any
    headers: dict[str, str]
    ids: dict[str, str]

    def each(self, endpoint: str, mode: GenerationMode, send: Callable[[Any], None]) -> None:
        """Send a number of requests to an endpoint."""
        method, path = endpoint.split(" ")
        requests = self.schema[path][method].as_strategy(generation_mode=mode)
        bounded(given(requests)(send))()

    def row_for(self, method: str, path: str) -> str:
        kind = "agent" if path.startswith(AGENTS) else "provider"
        kind = "token" if path.startswith("/api/v1/tokens") else kind
        return self.ids[f"{kind} to change" if method in {"PUT", "DELETE"} else kind]


@pytest.fixture(scope="module", params=DATABASES)
def fuzzed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fuzzed]:
    folder = tmp_path_factory.mktemp("fuzz")
    with (
        StubServer.in_thread() as stub,
        database_at(request.param, folder) as url,
        serving_in_thread(folder, database=url, requests_per_minute=1_000_000) as served,
    ):
        token = served.token("acme")
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=served.url, headers=headers, trust_env=False) as client:
            ids = dict(_seed(client, f"{stub.url}/v1"))
        schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
        yield Fuzzed(schema, headers, ids)


def _seed(client: httpx.Client, base_url: str) -> Iterator[tuple[str, str]]:
    config = {"base_url": base_url, "default_model": "gpt-4.1-mini"}
    for name in ("provider", "provider to change"):
        body = {"provider_type": "openai", "api_key": KEYS[0], "config": config}
        named = {**body, "name": name.replace(" ", "-")}
        yield name, client.post(PROVIDERS, json=named).json()["id"]
    for name in ("agent", "agent to change"):
        agent = {"agent_id": name.replace(" ", "-"), "provider": "provider", "api_key": KEYS[1]}
        yield name, client.post(AGENTS, json=agent).json()["id"]
    yield "token to change", client.post("/api/v1/tokens", json={"scopes": ["read"]}).json()["id"]


@pytest.mark.parametrize(
    ("endpoint", "mode"),
    [(each, GenerationMode.POSITIVE) for each in ENDPOINTS]
    + [(each, GenerationMode.NEGATIVE) for each in ENDPOINTS if each not in WITHOUT_INPUT],
)
def test_every_answer_is_as_documented_and_shows_no_key(
    fuzzed: Fuzzed, endpoint: str, mode: GenerationMode
) -> None:
    def send(case: Any) -> None:
        response = case.call(headers=fuzzed.headers)
        assert not any(key in response.text for key in KEYS)
        case.validate_response(response, checks=CHECKS)

    fuzzed.each(endpoint, mode, send)


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if "{id}" in each])
def test_rows_that_exist_answer_as_documented_and_show_no_key(
    fuzzed: Fuzzed, endpoint: str
) -> None:
    def send(case: Any) -> None:
        case.path_parameters["id"] = fuzzed.row_for(case.method, case.path)
        response = case.call(headers=fuzzed.headers)
        assert not any(key in response.text for key in KEYS)
        case.validate_response(response, checks=CHECKS[:5])

    fuzzed.each(endpoint, GenerationMode.POSITIVE, send)
