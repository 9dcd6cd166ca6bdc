"""Budgets: what is reserved before a call and settled after it, in memory and in SQL."""
