"""Many requests: asked by our own calls, or left to a provider's batch API. Read `many.py` first.

    many.py              many requests at once, in flat memory; what `LLMProvider.map` is
    run_file.py          a file of requests asked by an agent; what `orchestify batch run` is
    answer_file.py       the file of answers and its journal: what has ended or may have been sent
    request_file.py      the file of requests, checked whole before anything is sent
    answers.py           a result as a line of a file, in OpenAI's form
    requests.py          one request of many, as callers and files write it
    provider_batches.py  batches left to providers: submitted, followed, fetched and cancelled
    batch_plan.py        what such a batch sends, and what it may cost
    batch_results.py     what became of its requests, and how that is booked

It stands on `complete` of any provider, and on the lanes' batch APIs; a plain call passes nothing
of this.

Other rooms import from: answer_file, answers, batch_plan, many, provider_batches, request_file,
requests, run_file.
"""
