"""How a benchmark was asked for, and what it raises where it cannot be run here."""

from __future__ import annotations

from dataclasses import dataclass


class LackingError(Exception):
    """This machine lacks what the benchmark needs; the message says what, and how to give it."""


@dataclass(frozen=True)
class Settings:
    """The options of the command; what is None was not given."""

    quick: bool = False
    rounds: int | None = None
    postgres: str | None = None
    redis: str | None = None
    litellm_proxy: str | None = None
    portkey: str | None = None

    def sized(self, full: int, quick: int) -> int:
        """Return how many: of a whole run, or of a quick one."""
        return quick if self.quick else full

    def repeated(self, full: int) -> int:
        """Return the number of rounds: what was given, or one of a quick run."""
        return self.rounds or self.sized(full, 1)
