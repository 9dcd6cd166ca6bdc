"""OpenTelemetry: a span a call, and metrics, by the GenAI conventions; see `Telemetry`.

Read `telemetry` first; `attributes` has every name and what is told under it, `export` sets the
SDK up for the service. Other rooms import from here, and `destination` from `export`.
"""

from orchestify.telemetry.export import exporting
from orchestify.telemetry.telemetry import Telemetry

__all__ = ["Telemetry", "exporting"]
