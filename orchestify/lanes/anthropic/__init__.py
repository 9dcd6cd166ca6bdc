"""Anthropic's Messages.

Read `answer` first: an answer out of its events. `request` writes the body, `claude_models` knows
what each Claude model takes and refuses. Other rooms import `claude_models` alone.
"""
