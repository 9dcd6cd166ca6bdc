"""The throttle of a rate limit: half the rate after a 429, nothing during a pause."""

from __future__ import annotations

from math import sqrt

RECOVERY_S = 60.0  # from a slowed rate back to the full one, in a straight line
SLOWEST = 1 / 64


class Throttle:
    """A clock for limits: those counted on it are halved while it runs at half speed.

    It stands still until `resume_at`, begins again with `speed` (1 is full) and gains speed
    evenly until, `RECOVERY_S` later, it runs fully: multiplicative decrease, additive increase.
    Source: D. Chiu and R. Jain, "Analysis of the increase and decrease algorithms for
    congestion avoidance in computer networks", Computer Networks and ISDN Systems 17, 1989.
    """

    __slots__ = ("_begin", "_speed", "resume_at")

    def __init__(self, now: float) -> None:
        self.resume_at = now
        self._speed = 1.0  # at `resume_at`
        self._begin = 0.0  # this clock's time until `resume_at`

    def time(self, now: float) -> float:
        """Return this clock's time, in seconds, when it is `now`."""
        passed_s = now - self.resume_at
        if passed_s <= 0:
            return self._begin
        speed = self._speed
        if speed == 1.0:
            return self._begin + passed_s
        rising_s = min(passed_s, RECOVERY_S)
        gained = (1 - speed) * rising_s * rising_s / (2 * RECOVERY_S)
        return self._begin + speed * rising_s + gained + (passed_s - rising_s)

    def wait_s(self, clock_s: float, now: float) -> float:
        """Seconds from `now` until this clock has gone on by `clock_s`, pauses included."""
        target = self.time(now) + clock_s - self._begin
        full = (1 + self._speed) / 2 * RECOVERY_S  # what it runs while it gains speed
        if self._speed == 1.0:
            after_s = target
        elif target >= full:
            after_s = RECOVERY_S + target - full
        else:  # the root of speed * x + slope * x**2 == target, without cancellation
            slope = (1 - self._speed) / (2 * RECOVERY_S)
            after_s = 2 * target / (self._speed + sqrt(self._speed**2 + 4 * slope * target))
        return max(0.0, self.resume_at + after_s - now)

    def speed(self, now: float) -> float:
        """Return how fast it runs, or will once it is resumed; 1 is full."""
        passed_s = min(max(now - self.resume_at, 0.0), RECOVERY_S)
        return self._speed + (1 - self._speed) * passed_s / RECOVERY_S

    def pause(self, until: float, now: float) -> None:
        """Stand still until then; an earlier end than the present one changes nothing."""
        if until > max(now, self.resume_at):
            self._restart(until, self.speed(now), now)

    def halve(self, now: float) -> None:
        """Go on at half the speed, or from the end of the pause on."""
        self._restart(max(now, self.resume_at), max(SLOWEST, self.speed(now) / 2), now)

    def _restart(self, resume_at: float, speed: float, now: float) -> None:
        self._begin = self.time(now)
        self.resume_at = resume_at
        self._speed = speed
