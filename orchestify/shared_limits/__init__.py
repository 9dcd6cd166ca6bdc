"""Rate limits that several machines keep together, over Redis (extra `redis`).

Read `limiter` first: the local limiter, then windows shared by all. `sliding_window` is one such
window, `redis_connection` asks Redis and says when it is away. Other rooms import from here.
"""

from orchestify.shared_limits.limiter import RedisLimits, SharedRateLimiter
from orchestify.shared_limits.redis_connection import RedisConnection
from orchestify.shared_limits.sliding_window import SharedSlidingWindow

__all__ = ["RedisConnection", "RedisLimits", "SharedRateLimiter", "SharedSlidingWindow"]
