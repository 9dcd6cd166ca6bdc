"""Each tenant's registry: built from its rows, rebuilt as they change, closed when idle."""

from orchestify.server.tenants.registry import TenantRegistry

__all__ = ["TenantRegistry"]
