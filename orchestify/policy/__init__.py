"""The policies of the call path: small values with their clock, sleep and randomness passed in."""
