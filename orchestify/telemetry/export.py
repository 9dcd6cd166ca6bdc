"""The SDK for a process that is ours, the service: set up as the environment says."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from orchestify.errors import MissingExtraError
from orchestify.resources.extras import missing_extra
from orchestify.telemetry.telemetry import Telemetry

ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"


def destination(environ: Mapping[str, str] = os.environ) -> str:
    """Say where telemetry goes, or that it goes nowhere; without a user or a password."""
    named = [_plain(environ[name]) for name in ENDPOINTS if environ.get(name)]
    if named:
        return f"to {' and '.join(dict.fromkeys(named))}"
    trace = import_module("opentelemetry.trace")
    if type(trace.get_tracer_provider()).__module__.startswith("opentelemetry.trace"):
        return f"nothing is exported, for {ENDPOINTS[0]} is not set"
    return "as this process was set up to (opentelemetry-instrument)"


def exporting(environ: Mapping[str, str] = os.environ) -> tuple[Telemetry, Callable[[], None]]:
    """Return telemetry that is sent over OTLP, and what sends the rest and ends it, waiting.

    Where the environment names no endpoint the process's global providers are used, which
    `opentelemetry-instrument` sets up. The exporters read all else from OpenTelemetry's own
    variables (headers, intervals, samplers, the service's name).

    Raises:
        MissingExtraError: an endpoint is named, and the SDK or the exporter is not installed.
    """
    if not any(environ.get(name) for name in ENDPOINTS):
        return Telemetry(), lambda: None
    try:
        return _over_otlp(environ)
    except ImportError as error:
        needs = f"exporting telemetry needs {error.name}"
        if _is_grpc(environ):
            raise MissingExtraError(
                f"{needs}: pip install opentelemetry-exporter-otlp-proto-grpc"
            ) from None
        raise missing_extra(needs, "otel") from None


def _over_otlp(environ: Mapping[str, str]) -> tuple[Telemetry, Callable[[], None]]:
    sdk_trace, sdk_metrics = _sdk("trace"), _sdk("metrics")
    home = f"opentelemetry.exporter.otlp.proto.{'grpc' if _is_grpc(environ) else 'http'}"
    spans = import_module(f"{home}.trace_exporter").OTLPSpanExporter()
    sums = import_module(f"{home}.metric_exporter").OTLPMetricExporter()
    resource = _sdk("resources").Resource.create(_service(environ))
    tracer_provider = sdk_trace.TracerProvider(resource=resource)
    tracer_provider.add_span_processor(_sdk("trace.export").BatchSpanProcessor(spans))
    reader = _sdk("metrics.export").PeriodicExportingMetricReader(sums)
    meter_provider = sdk_metrics.MeterProvider([reader], resource)

    def close() -> None:
        tracer_provider.shutdown()
        meter_provider.shutdown()

    return Telemetry(tracer_provider, meter_provider), close


def _sdk(name: str) -> Any:
    return import_module(f"opentelemetry.sdk.{name}")


def _plain(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _is_grpc(environ: Mapping[str, str]) -> bool:
    return environ.get(PROTOCOL) == "grpc"


def _service(environ: Mapping[str, str]) -> dict[str, Any]:
    """The service's name, where the environment gives none."""
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return {} if named else {"service.name": "orchestify"}
