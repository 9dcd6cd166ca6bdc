"""Many requests: asked by our own calls, or left to a provider's batch API. Read `many.py` first.

    many.py          many requests at once, in flat memory; what `LLMProvider.map` is
    answers.py       a result as a line of a file, in OpenAI's form
    requests.py      one request of many, as callers and files write it

It stands on `complete` of any provider; a plain call passes nothing of this.

Other rooms import from: answers, many, requests.
"""
