"""How often each key, and each address without one, may call.

Counted in Redis for all API processes where the broker is Redis, else in this one.
"""

import math
import time

import structlog
from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.access import Caller
from app.errors import TooManyRequests
from app.settings import Settings

PATIENCE_SECONDS = 0.5  # to wait for Redis: a limit is there to keep the service quick
RETREAT_SECONDS = 30.0  # to count alone after Redis has failed
_log = structlog.get_logger(__name__)


class Rates:
    """Counts calls. Without Redis every process counts for itself: a limit is no reason to refuse everybody."""

    def __init__(self, settings: Settings) -> None:
        namespace = f"{settings.broker_prefix}r2f-rate"
        self._of_key = RateLimitItemPerMinute(settings.rate_limit, namespace=namespace)
        self._of_stranger = RateLimitItemPerMinute(settings.stranger_limit, namespace=f"{namespace}-stranger")
        self._alone = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._together = _shared(settings)
        self._alone_until = 0.0

    def count(self, caller: Caller) -> None:
        """Count a call; raises TooManyRequests once a key has used up its minute.

        Calls that need no key are free: they come from this machine, or through a proxy that has its own limits.
        """
        if caller.key_id is not None:
            self._count(self._of_key, caller.key_id)

    def count_stranger(self, address: str) -> None:
        """Count a call by nobody that is known; raises TooManyRequests once its address has used up its minute."""
        self._count(self._of_stranger, address)

    def _count(self, limit: RateLimitItemPerMinute, who: str) -> None:
        limiter = self._limiter()
        try:
            wait = _wait(limiter, limit, who)
        except StorageError:
            _log.warning("the rate limit is counted per process: Redis does not answer")
            self._alone_until = time.monotonic() + RETREAT_SECONDS
            wait = _wait(self._alone, limit, who)
        if wait is not None:
            raise TooManyRequests(f"At most {limit.amount} calls a minute.", headers={"Retry-After": str(wait)})

    def _limiter(self) -> SlidingWindowCounterRateLimiter:
        if self._together is None or time.monotonic() < self._alone_until:
            return self._alone
        return self._together


def _wait(limiter: SlidingWindowCounterRateLimiter, limit: RateLimitItemPerMinute, who: str) -> int | None:
    """Seconds until the next call is free; None when this one is."""
    if limiter.hit(limit, who):
        return None
    return max(1, math.ceil(limiter.get_window_stats(limit, who).reset_time - time.time()))


def _shared(settings: Settings) -> SlidingWindowCounterRateLimiter | None:
    """Counting in Redis; None where the broker is another."""
    if not settings.broker_url.startswith(("redis://", "rediss://")):
        return None
    storage = RedisStorage(
        settings.broker_url,
        wrap_exceptions=True,
        socket_timeout=PATIENCE_SECONDS,
        socket_connect_timeout=PATIENCE_SECONDS,
    )
    return SlidingWindowCounterRateLimiter(storage)
