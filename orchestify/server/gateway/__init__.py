"""The gateway: OpenAI's protocol over the tenants' registries, for hosts that are not Python.

Read `exchange` first: one chat completion from its body (`request`) to its answer (`answer`) or
error (`errors`). `routes` has the paths, `openapi` their documentation. Only `app` imports from
here, and `api.errors` the form of errors.
"""
