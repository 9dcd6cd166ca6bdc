"""Health of providers: statistics of real calls, and checks that cost nothing.

Read `health.py` first: it takes every attempt's record and answers for each provider.
`report.py` says what that makes of all together; `monitor.py` runs checks in the background.

Other rooms import from: health, monitor, report.
"""
