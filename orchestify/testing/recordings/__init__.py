"""Answers of providers kept in files, and given again in tests: no network, no key, no cost.

Read `lane` first: it stands before any lane and asks `recording` for what was answered before, or
tells it what is answered now. `requests` and `answers` turn both into plain values, `file` writes
them as YAML; `ids` renames what differs with each run, `secrets` strikes keys out, `difference`
says how a request that is not there differs from the nearest. `opening` finds a test's file.
"""

from orchestify.testing.recordings.opening import opened
from orchestify.testing.recordings.recording import Mode, Recordings

__all__ = ["Mode", "Recordings", "opened"]
