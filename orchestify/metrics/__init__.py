"""Prometheus: what calls did, how circuits and budgets stand; see `Metrics`.

Read `metrics` first; `families` has every name and label. Other rooms import `Metrics` from here.
A new figure is a family in `families` and a sum in its `Series`.
"""

from orchestify.metrics.metrics import Metrics

__all__ = ["Metrics"]
