"""The health of all providers at one moment, and what it says of the whole."""

from __future__ import annotations

from typing import Any

from orchestify.health.health import ProviderHealth, Status


class HealthReport(dict[str, ProviderHealth]):
    """The health of each provider by name."""

    @property
    def overall_status(self) -> Status:
        """The status of all together, of those that are known.

        `healthy` where all are, `unavailable` where all are, else `degraded`; `unknown` where
        nothing is known of any.
        """
        known = {each.status for each in self.values()} - {"unknown"}
        return known.pop() if len(known) == 1 else "degraded" if known else "unknown"

    def as_dict(self) -> dict[str, Any]:
        """Return `overall_status` and `providers`, ready for JSON."""
        providers = {name: each.as_dict() for name, each in self.items()}
        return {"overall_status": self.overall_status, "providers": providers}
