"""The ways out to providers: one request sent, its answer read, its failure classified.

Read `lane` first (what a lane is), then `direct` (Anthropic's and OpenAI's protocols over HTTP).
What both protocols share of an answer is in `answers`, its tokens and cost in `reported_usage`, its
errors in `classify`; `parsing` holds the bounds. `litellm/` and `mock` are the other lanes. No
policy, no retry and no booking is here. Other rooms import `lane`, `direct`, `mock`, `litellm.lane`
and `reported_usage`.
"""
