"""Many requests: asked by our own calls, or left to a provider's batch API. Read `many.py` first.

    many.py          many requests at once, in flat memory; what `LLMProvider.map` is
    run_file.py      a file of requests asked by an agent; what `orchestify batch run` is
    answer_file.py   the file of answers and its journal: what has ended, what may have been sent
    request_file.py  the file of requests, checked whole before anything is sent
    answers.py       a result as a line of a file, in OpenAI's form
    requests.py      one request of many, as callers and files write it

It stands on `complete` of any provider; a plain call passes nothing of this.

Other rooms import from: answer_file, answers, many, requests, run_file.
"""
