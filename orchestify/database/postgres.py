"""A connection to PostgreSQL whose waits are bounded (needs the extra `postgres`)."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.waiting import Ready, wait_selector

_POLL_S = 0.1


class SilenceBoundConnection(psycopg.Connection[Any]):
    """Closes itself when its server says nothing to a statement for `silence_s` seconds."""

    silence_s: float | None = None

    def wait(self, gen: Any, *args: Any, **given: Any) -> Any:
        """Wait for the server's answer.

        Raises:
            psycopg.OperationalError: there was none in time.
        """
        if self.silence_s is None:
            return super().wait(gen, *args, **given)
        # psycopg's wait in C tells its generator of passing time only from 3.3 on
        return wait_selector(self._bounded(gen, self.silence_s), self.pgconn.socket, _POLL_S)

    def _bounded(self, gen: Any, silence_s: float) -> Generator[Any, Any, Any]:
        until = time.monotonic() + silence_s
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted  # nothing is, each tenth of a second
                if ready == Ready.NONE and time.monotonic() > until:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the server did not answer in {silence_s:g} s")
                wanted = gen.send(ready)
        except StopIteration as answer:
            return answer.value
