"""Health of providers: statistics of real calls, and checks that cost nothing.

Read `health.py` first: it takes every attempt's record and answers for each provider.
`report.py` says what that makes of all together; `monitor.py` runs checks in the background;
`forecast_alert.py` tells when a month is going to be dear.

Other rooms import from: forecast_alert, health, monitor, report.
"""
