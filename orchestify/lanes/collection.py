"""The garbage collector, kept from passing over an answer of very many parts while it is read.

What is parsed has no cycles, but a full collection looks at each part of it and stops all threads
meanwhile: 0.1 s for a million arrays or ten million numbers, several times while they grow.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_NEVER = 1 << 30
_lock = threading.Lock()
_readers = 0
_usual = gc.get_threshold()


@contextmanager
def no_full_collection() -> Iterator[None]:
    """Put full collections off, in all threads; the usual ones go on."""
    global _readers, _usual  # noqa: PLW0603 - as the collector is, the process's
    with _lock:
        if not _readers:
            _usual = gc.get_threshold()
            gc.set_threshold(*_usual[:2], _NEVER)
        _readers += 1
    try:
        yield
    finally:
        age()
        with _lock:
            _readers -= 1
            if not _readers:
                gc.set_threshold(*_usual)


def age() -> None:
    """Within `no_full_collection`, let everything be old: only a full collection looks at that.

    Not where the host has frozen objects: these stay so.
    """
    if _readers and not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()


def _begin_anew() -> None:
    """In a process that was forked meanwhile no thread is reading."""
    global _lock, _readers
    if _readers:
        gc.set_threshold(*_usual)
    _lock, _readers = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
