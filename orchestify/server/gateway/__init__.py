"""The gateway: OpenAI's protocol over the tenants' registries, for hosts that are not Python."""

from orchestify.server.gateway.routes import add_gateway

__all__ = ["add_gateway"]
