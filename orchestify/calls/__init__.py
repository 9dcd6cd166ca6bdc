"""The call path: what happens between a call and its answer. Read `route.py` first.

    provider.complete             providers/base.py: what a host holds; the same for stream
     └ call_of                    request.py, messages.py: arguments checked, turned into a Call
        └ Route.complete          route.py: a CallState (call.py) is made, its deadline begins;
                                  its targets were made by providers/lookup.py and targets.py
           strategy               which targets, in which order
            └ for each target, until one answers: Call.request -> CompletionRequest
               lacking            what the target cannot do: next target, nothing sent
               kept answers       where they are kept, cached.py: a hit, or one asks for all
               └ for each attempt (the only retry anywhere): an AttemptState (call.py); a request
                                  the provider wants otherwise, and another key of a pool
                                  (key_pool.py), are attempts, too
                   breaker        open: next target, nothing sent
                   rate limits    wait, at most what the deadline leaves
                   budgets        reserve the attempt's worst case, atomically
                   admit          half open: one probe
                   ledger         open the record
                   target.lane    Lane.send(CompletionRequest), or open_stream: lanes/lane.py
                    └ body        lanes/openai, anthropic, responses: request.py, what is known to
                                  be refused left out (fitted), as JSON (direct.py)
                       └ POST     lanes/http/endpoint.py: session, proxy, socket
                       ┌ bytes    read_body whole, or lanes/stream.py by lanes/http/sse.py
                    ┌ answer      lanes/openai, anthropic, responses: answer.py -> LLMResponse
                    │             what fails: lanes/classify.py -> one APIError
                   close          settle budgets and limits, judge the breaker, complete the
                                  record, tell health and observers: once, whatever happened
                                  where it failed: again, the next target, or raised
                                  (Route._worth_trying); a budget's step leads to its targets
              LLMResponse         with cost, attempts and call_id (CallState.answered)

A stream takes the same way until its first output and may be retried until then; from there on
`opened_stream.py` books what comes and bounds it. Callers read a `CompletionStream` (stream.py),
whose account is closed by its end, its error, `aclose` or its last reference. `litellm` and a
host's own class are lanes like the others (`lanes/litellm/lane.py`, `providers/external.py`).

One frozen value goes down (CompletionRequest), one comes back (LLMResponse). Nothing here
imports from providers/. `embedding.py` has what `embed` adds: batches, each sent as above by
`Lane.embed_inputs`. `sync.py` is the synchronous face, `tracing.py` what a tracer is told,
`chat_completion.py` an answer in OpenAI's words.

Other rooms import from: attempt_usage, chat_completion, embedding, key_pool, messages, request,
route, runtime, stream, sync, target, tracing.
"""
