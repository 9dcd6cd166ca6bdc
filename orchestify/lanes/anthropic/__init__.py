"""Anthropic's Messages, directly over HTTP."""
