"""Each tenant's registry: built from its rows, rebuilt as they change, closed when idle.

Read `registry` first. `tenant_state` is what outlives a rebuild, `tenant_providers` one tenant's
registry, `change_notices` how processes hear of each other's changes.
"""

from orchestify.server.tenants.registry import TenantRegistry

__all__ = ["TenantRegistry"]
