"""HTTP below the direct lanes: connections, bodies, server-sent events, and what goes wrong.

Read `endpoint` first: one provider's address, its headers, its proxy, and aiohttp's sessions by
event loop. `sse` turns bytes into events, `resolving` looks up the names of tenants' endpoints,
`transport` says what a lost connection means. Only `lanes` imports from here.
"""
