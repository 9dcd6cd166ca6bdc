"""What a command is told by signals, also where these tests run in a background job."""

from __future__ import annotations

import signal


def with_interrupts() -> None:
    """Let a command that begins take Ctrl-C and the end of its terminal, as shells let jobs not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
