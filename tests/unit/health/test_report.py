from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from orchestify.health.health import ProviderHealth, Status
from orchestify.health.report import HealthReport

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def report(*statuses: Status) -> HealthReport:
    return HealthReport(
        {
            f"p{index}": ProviderHealth(provider=f"p{index}", status=each, at=NOW)
            for index, each in enumerate(statuses)
        }
    )


@pytest.mark.parametrize(
    ("statuses", "overall"),
    [
        ((), "unknown"),
        (("unknown", "unknown"), "unknown"),
        (("healthy", "healthy"), "healthy"),
        (("healthy", "unknown"), "healthy"),
        (("healthy", "degraded"), "degraded"),
        (("healthy", "unavailable"), "degraded"),
        (("degraded", "unavailable"), "degraded"),
        (("unavailable", "unavailable", "unknown"), "unavailable"),
    ],
)
def test_the_status_of_all_together(statuses: tuple[Status, ...], overall: str) -> None:
    assert report(*statuses).overall_status == overall


def test_a_report_is_a_mapping_by_provider_and_goes_into_json() -> None:
    found = report("healthy")
    exported = json.loads(json.dumps(found.as_dict()))
    assert list(found) == ["p0"]
    assert exported["overall_status"] == "healthy"
    assert exported["providers"]["p0"]["is_healthy"] is True
    assert exported["providers"]["p0"]["at"] == "2026-11-29T00:00:00+00:00"
