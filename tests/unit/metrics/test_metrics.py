"""Sums of attempts as Prometheus reads them, from records made by hand."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from orchestify.errors import MissingExtraError
from orchestify.ledger.record import Record
from orchestify.metrics import Metrics
from orchestify.values import UNKNOWN_USAGE, Usage

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
M = {"provider": "main", "model": "m"}


def record(**more: Any) -> Record:
    given = {"model": "m", "outcome": "ok", "usage": Usage(100, 20), "latency_s": 1.0, **more}
    return Record(id="secret-id", call_id="secret-call", started_at=AT, provider="main", **given)


def value(metrics: Metrics, name: str, tenant: str = "", **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(metrics)
    return registry.get_sample_value(name, {"tenant": tenant, **M, **labels})


def test_attempts_are_counted_by_outcome() -> None:
    metrics = Metrics()
    for outcome in ("ok", "ok", "failed", "cancelled", "interrupted"):
        metrics.observe(record(outcome=outcome))
    assert value(metrics, "orchestify_requests_total", outcome="ok") == 2
    assert value(metrics, "orchestify_requests_total", outcome="failed") == 1
    assert value(metrics, "orchestify_requests_total", outcome="cancelled") == 1
    assert value(metrics, "orchestify_requests_total", outcome="interrupted") == 1


def test_tokens_are_counted_by_type() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.observe(record(usage=Usage(100, 20, cache_read=40, cache_write=5, reasoning=7)))
    assert value(metrics, "orchestify_tokens_total", type="input") == 200
    assert value(metrics, "orchestify_tokens_total", type="output") == 40
    assert value(metrics, "orchestify_tokens_total", type="cache_read") == 80
    assert value(metrics, "orchestify_tokens_total", type="cache_write") == 10
    assert value(metrics, "orchestify_tokens_total", type="reasoning") == 14


def test_an_unknown_price_is_counted_and_costs_nothing() -> None:
    metrics = Metrics()
    metrics.observe(record(cost_usd=Decimal("0.25")))
    metrics.observe(record(cost_usd=None))
    metrics.observe(record(cost_usd=None, outcome="failed", usage=UNKNOWN_USAGE))
    assert value(metrics, "orchestify_cost_usd_total") == 0.25
    assert value(metrics, "orchestify_unpriced_requests_total") == 1


def test_a_duration_is_in_all_buckets_from_its_own_on() -> None:
    metrics = Metrics()
    metrics.observe(record(latency_s=2.5))
    name = "orchestify_request_duration_seconds"
    assert value(metrics, f"{name}_bucket", outcome="ok", le="1.0") == 0
    assert value(metrics, f"{name}_bucket", outcome="ok", le="2.5") == 1
    assert value(metrics, f"{name}_bucket", outcome="ok", le="+Inf") == 1
    assert value(metrics, f"{name}_sum", outcome="ok") == 2.5
    assert value(metrics, f"{name}_count", outcome="ok") == 1


def test_only_streams_have_a_time_to_their_first_chunk() -> None:
    metrics = Metrics()
    metrics.observe(record())
    assert value(metrics, "orchestify_time_to_first_chunk_seconds_count") is None
    metrics.observe(record(first_chunk_s=0.2))
    assert value(metrics, "orchestify_time_to_first_chunk_seconds_count") == 1
    assert value(metrics, "orchestify_time_to_first_chunk_seconds_sum") == 0.2


def test_a_tenants_exposition_holds_nothing_of_anothers() -> None:
    metrics = Metrics()
    metrics.observe(record(tenant="acme"))
    metrics.observe(record(tenant="globex", model="theirs"))
    acme = metrics.exposition("acme")[0].decode()
    assert 'tenant="acme"' in acme
    assert "globex" not in acme
    assert "theirs" not in acme
    assert "globex" in metrics.exposition()[0].decode()


def test_a_tenant_without_calls_sees_no_series() -> None:
    metrics = Metrics()
    metrics.observe(record(tenant="acme"))
    text = metrics.exposition("nobody")[0].decode()
    assert [f.samples for f in text_string_to_metric_families(text) if f.samples] == []


def test_a_thousand_made_up_models_do_not_make_a_thousand_series() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.observe(record(model=f"made-up-{number}"))
    text = metrics.exposition()[0].decode()
    families = {each.name: each for each in text_string_to_metric_families(text)}
    assert len(families["orchestify_requests"].samples) == 201
    other = value(metrics, "orchestify_requests_total", model="other", outcome="ok")
    assert other == 800


def test_no_id_is_a_label() -> None:
    metrics = Metrics()
    metrics.observe(record(labels={"run": "secret-run"}))
    assert b"secret" not in metrics.exposition()[0]


def test_openmetrics_is_told_to_those_who_ask_for_it() -> None:
    text, plain = Metrics().exposition()
    openmetrics, kind = Metrics().exposition(accept="application/openmetrics-text; version=1.0.0")
    assert plain.startswith("text/plain")
    assert not text.endswith(b"# EOF\n")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics.endswith(b"# EOF\n")


def test_what_is_observed_while_the_sums_are_read_is_counted_afterwards() -> None:
    metrics = Metrics()
    with metrics._locked():  # as a scrape holds it, when the collector drops a stream
        metrics.observe(record())
    assert value(metrics, "orchestify_requests_total", outcome="ok") == 1


def test_threads_lose_no_attempt() -> None:
    metrics = Metrics()

    def observe() -> None:
        for _ in range(2000):
            metrics.observe(record())

    threads = [threading.Thread(target=observe) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        metrics.exposition()
        thread.join()
    assert value(metrics, "orchestify_requests_total", outcome="ok") == 8000


def test_a_missing_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("orchestify.metrics", "orchestify.metrics.metrics", "orchestify.metrics.families"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[server\]"):
        import_module("orchestify.metrics")


def test_answers_of_the_response_cache_are_no_requests() -> None:
    metrics = Metrics()
    hit = {"outcome": "cached", "usage": Usage(), "cost_usd": Decimal(0)}
    metrics.observe(record(cost_usd=Decimal("0.25")))
    metrics.observe(record(**hit, saved_usd=Decimal("0.25")))
    metrics.observe(record(**hit, saved_usd=None))
    assert value(metrics, "orchestify_cached_answers_total") == 2
    assert value(metrics, "orchestify_saved_usd_total") == 0.25
    assert value(metrics, "orchestify_requests_total", outcome="ok") == 1
    assert value(metrics, "orchestify_requests_total", outcome="cached") is None
    assert value(metrics, "orchestify_cost_usd_total") == 0.25
