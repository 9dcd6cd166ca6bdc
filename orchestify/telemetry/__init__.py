"""OpenTelemetry: a span a call, and metrics, by the GenAI conventions; see `Telemetry`."""

from orchestify.telemetry.export import exporting
from orchestify.telemetry.telemetry import Telemetry

__all__ = ["Telemetry", "exporting"]
