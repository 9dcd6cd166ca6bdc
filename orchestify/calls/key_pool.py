"""Pools of keys: which key of a provider a call goes out with, and which one follows it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from orchestify.calls.request import Call
from orchestify.calls.runtime import Runtime
from orchestify.calls.target import Target
from orchestify.errors import APIError, AuthenticationError, PermissionDeniedError, RateLimitError

OF_THE_KEY = (RateLimitError, AuthenticationError, PermissionDeniedError)
"""Errors that concern the key a request went out with, so that another key may do better."""

REFUSED_REST_S = 300.0
"""How long a key of a pool rests that was refused (401, 402, 403) without a time."""

_HASHED_CHARS = 4_096  # of each message: a conversation is known by its beginning


def keyed(
    runtime: Runtime,
    target: Target,
    call: Call,
    labels: Mapping[str, str],
    tried: Collection[str] = (),
) -> Target:
    """Return the target with the key that the call, with its scope's labels, goes out with.

    Of the keys that do not rest, and were not `tried`, the one that the pool's `spread` says;
    where all rest, the one that goes on first.
    """
    keys = [each for each in target.keys if each.credential not in tried] or target.keys
    ready = [each for each in keys if runtime.passed_for_s(each)[0] <= 0]
    if not ready:
        return min(keys, key=lambda each: runtime.passed_for_s(each)[0])
    if target.spread == "least_used":
        chosen = min(ready, key=runtime.key_calls)
    elif target.spread == "sticky" and len(ready) > 1:
        said = _conversation(call, labels, target.sticky_by)
        chosen = max(ready, key=lambda each: _weight(said, each.key))
    else:
        chosen = ready[0]
    runtime.note_key_call(chosen)
    return chosen


def other_key(
    runtime: Runtime,
    target: Target,
    call: Call,
    labels: Mapping[str, str],
    tried: Collection[str],
    error: APIError,
) -> Target | None:
    """Return the target with a key that was not tried and does not rest, where that may help."""
    if not target.keys or not isinstance(error, OF_THE_KEY):
        return None
    other = keyed(runtime, target, call, labels, tried)
    return None if other.credential in tried or runtime.passed_for_s(other)[0] > 0 else other


def _conversation(call: Call, labels: Mapping[str, str], label: str) -> bytes:
    """Return what tells a call's conversation: a label's value, else how its messages begin."""
    value = labels.get(label) if label else None
    if value is not None:
        return value.encode("utf-8", "replace")
    beginning: list[str] = []
    for message in call.messages:
        beginning.append(message.text[:_HASHED_CHARS])
        if message.role != "system":
            break
    return "\0".join(beginning).encode("utf-8", "replace")


def _weight(conversation: bytes, key: str) -> bytes:
    """Return the weight of a key for a conversation; the largest has it.

    Where a key rests only its own conversations move.
    Source: D. Thaler, C. Ravishankar, "Using name-based mappings to increase hit rates", 1998.
    """
    return hashlib.blake2b(conversation, digest_size=8, key=key.encode()).digest()
