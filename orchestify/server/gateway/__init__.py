"""The gateway: OpenAI's and Anthropic's protocols over the tenants' registries, for any client.

Read `exchange` first: one call from its body to its answer or error (`errors`). `chat`, `messages`
and `responses` are the protocols, each with its `request` and its `answer`. `routes` has the paths,
`openapi` their documentation. Only `app` imports from here, `api.errors` the form of
errors, and `adapters` what `chat` reads and writes.
"""
