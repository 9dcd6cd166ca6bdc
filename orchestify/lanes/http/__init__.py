"""HTTP below the direct lanes: endpoints, sessions, server-sent events, transport."""
