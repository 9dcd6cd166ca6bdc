"""The policies of the call path: small values with clock, sleep and randomness passed in.

Read `retry.py` first; the breaker, the rate limit, the budget and the strategy have its form.
Below the rate limit stand its algorithms and its wait queue.

Other rooms import from: breaker, budget, forecast, limit_algorithms, rate_limit,
rate_limit_headers, retry, strategy, wait_queue.
"""
