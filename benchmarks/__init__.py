"""Benchmarks: `python -m benchmarks` runs them, each in a process of its own.

A benchmark is a module with `measure(settings)`, which yields tables; its name stands in
`__main__.py`. What they share: `settings` (how it was asked for), `results` (a table, printed, as
JSON and as Markdown), `processes` (the stub server and others), `peers` (other clients), `chart`.
"""
