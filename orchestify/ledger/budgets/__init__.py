"""Budgets: money is reserved before a call and settled after it, in memory or in SQL.

Read `store` first: `BudgetBook` is what the call path uses, over a store; `memory_store` and
`sql_store` are the two stores, and `worker` serves the one in SQL. Arithmetic is in
`orchestify.policy.budget`. Other rooms use `store` and `reservation` only.
"""
