"""The tool loop: a model calls Python functions until it has its answer. Read `loop.py` first.

    loop.py          turns until an answer, within limits; what `LLMProvider.run` is
    running.py       the calls of one answer: at most 8 at once, each within its time
    functions.py     a Python function as a tool: its schema, its arguments, its call
    docstrings.py    what a function's docstring says of it and its parameters
    toolset.py       which tools a run has, and which function is whose
    results.py       what a run gives back, and the events of its stream

It stands on `complete` and `stream` of any provider, which book every turn; a plain call passes
nothing of this.

Other rooms import from: functions, loop, results, toolset.
"""
