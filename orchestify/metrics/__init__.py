"""Prometheus: what calls did, how circuits and budgets stand; see `Metrics`."""

from orchestify.metrics.metrics import Metrics

__all__ = ["Metrics"]
