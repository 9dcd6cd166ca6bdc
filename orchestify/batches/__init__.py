"""Many requests: asked by our own calls, or left to a provider's batch API. Read `many.py` first.

    requests.py      one request of many, as callers and files write it

It stands on `complete` of any provider; a plain call passes nothing of this.

Other rooms import from: requests.
"""
