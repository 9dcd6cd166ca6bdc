"""The ways out to providers: one request sent, its answer read, its failure classified.

Read `lane` first (what a lane is), then `direct` (Anthropic's and OpenAI's protocols over HTTP).
What both protocols share of an answer is in `answers`, tokens and cost too, its errors in
`classify`; `parsing` holds the bounds, `stream` reads a stream. `litellm/` and `mock` are the other
lanes. No policy, no retry and no booking is here. Other rooms import `lane`, `direct`, `mock`,
`responses.lane`, `litellm.lane` and `answers`; recordings of tests also `parsing` and `redaction`.
"""
