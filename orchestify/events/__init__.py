"""Typed events for hosts: circuits, budgets, fallbacks, outages; each is also one log line.

Read `events.py` first: the events and `Events`, which hands them on without waiting.
`dispatch.py` is the thread that calls the handlers; `webhook.py` sends alerts to an address,
signed by `signatures.py`.

Other rooms import from: events, signatures, webhook.
"""
