"""Telemetry over OTLP, as the service sends it, received by a server on loopback."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestify.telemetry import exporting
from orchestify.testing import StubServer
from tests.registries import registry_on

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http", reason="the OTLP exporter is not installed"
)


class Collector(ThreadingHTTPServer):
    """Keeps what is posted, by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.bodies: dict[str, bytes] = {}


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        packed = self.headers.get("content-encoding") == "gzip"
        self.server.bodies[self.path] = gzip.decompress(body) if packed else body
        self.send_response(200)
        self.end_headers()

    def log_request(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_an_endpoint_in_the_environment_gets_spans_and_metrics(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{collector.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    telemetry, close = exporting()
    async with StubServer() as server, registry_on(server, {"one": {}}) as registry:
        telemetry.watch(registry)
        await registry.get("one").complete("the-prompt")
    close()
    assert sorted(collector.bodies) == ["/v1/metrics", "/v1/traces"]
    assert b"chat one" in collector.bodies["/v1/traces"]
    assert b"orchestify" in collector.bodies["/v1/traces"]
    assert b"gen_ai.client.operation.duration" in collector.bodies["/v1/metrics"]
    assert b"the-prompt" not in b"".join(collector.bodies.values())


async def test_the_services_own_name_gives_way_to_the_environments(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{collector.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "llm-gateway")
    telemetry, close = exporting()
    async with StubServer() as server, registry_on(server, {"one": {}}) as registry:
        telemetry.watch(registry)
        await registry.get("one").complete("hi")
    close()
    assert b"llm-gateway" in collector.bodies["/v1/traces"]
