"""The service (extra `server`): tenants, their providers and agents over REST, and a gateway.

Read `service` first: it opens everything and names the parts. A request passes `connections` (the
socket), `logs` and `middleware`, an endpoint in `api` or `gateway`, and `access.authentication`;
tenants' registries are in `tenants`, their rows in `storage`, and `rows` reads rows as
configuration. `live` is the page of what is being spent, of a tenant or of a ledger alone.
A new REST endpoint is a function in the module of its resource in `api`, added in `app`.
Other rooms import `live`, `running`, `service`, `settings` and `startup_summary`, and of `storage`
what commands need: `opening`, `audit`, `queries`. `adapters` answers as `gateway` does, by its
modules.
"""
