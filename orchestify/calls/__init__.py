"""The call path: what happens between a call and its answer."""
