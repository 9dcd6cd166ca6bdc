"""The response cache: answers kept for equal requests, each tenant's own, for a time.

Read `cache` first: what is kept, and how equal calls at once become one request. `caches` makes one
for each setting of a registry; `kept_answer` is an answer as text and back. `store` is what
`memory_store`, `sql_store` (the ledger's database) and `redis_store` implement. Its step in a call
is `calls/cached.py`.

Other rooms import from: cache, caches, kept_answer, memory_store, redis_store, sql_store.
"""
