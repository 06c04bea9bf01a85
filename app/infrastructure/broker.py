"""The Redis that carries tasks. Its edge fails apart from the cache's, so it is watched apart."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

DEPENDENCY = "redis-broker"
TIMEOUT_S = 0.25


class Broker:
    """One connection, for signs of life."""

    def __init__(self, url: str) -> None:
        """Connect at the first ping."""
        self._redis: Redis = Redis.from_url(
            url,
            max_connections=1,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            # One more try only for a kept connection that had been cut; a timeout is never repeated.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            health_check_interval=0,
            protocol=2,  # no HELLO, no SETINFO: a connection is made in one round trip
            driver_info=None,
        )

    async def ping(self) -> None:
        """Return when the broker answered, raise what went wrong otherwise."""
        await self._redis.ping()

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()
