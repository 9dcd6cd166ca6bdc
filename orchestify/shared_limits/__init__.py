"""Rate limits that several machines keep together, over Redis (extra `redis`)."""

from orchestify.shared_limits.limiter import SharedRateLimiter
from orchestify.shared_limits.link import RedisLink
from orchestify.shared_limits.redis_limits import RedisLimits
from orchestify.shared_limits.window import SharedWindow

__all__ = ["RedisLimits", "RedisLink", "SharedRateLimiter", "SharedWindow"]
