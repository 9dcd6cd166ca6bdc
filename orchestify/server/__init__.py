"""The service (extra `server`): tenants, their providers and agents over REST, and a gateway."""
