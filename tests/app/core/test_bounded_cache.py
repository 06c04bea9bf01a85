"""A cache that holds at most so many bytes, each for so long."""

from __future__ import annotations

from app.core.bounded_cache import OVERHEAD_BYTES, BoundedCache

SIZE = 1000
ROOM_FOR_THREE = 3 * (SIZE + OVERHEAD_BYTES)


class Clock:
    """Time that passes when it is told to."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def test_who_was_not_asked_for_longest_goes_first() -> None:
    """A fourth value takes the place of the one that nobody wanted."""
    cache: BoundedCache[str] = BoundedCache(ROOM_FOR_THREE, 10.0)
    for key in "abc":
        cache.put(key, key.encode() * SIZE)
    assert cache.get("a") is not None
    cache.put("d", b"d" * SIZE)

    assert [key for key in "abcd" if cache.get(key) is not None] == ["a", "c", "d"]


def test_the_bound_holds_whatever_is_put() -> None:
    """Many values, empty ones, replaced ones, one that is too large: never more than the bound."""
    cache: BoundedCache[int] = BoundedCache(ROOM_FOR_THREE, 10.0)
    for number in range(2000):
        cache.put(number % 37, b"x" * (number * 7919 % (2 * SIZE)))
        cache.put(-number, b"")
        assert 0 <= cache.held_bytes <= ROOM_FOR_THREE
    cache.put(5, b"x" * ROOM_FOR_THREE)

    assert cache.get(5) is None
    assert cache.held_bytes <= ROOM_FOR_THREE
    assert len(cache._values) <= ROOM_FOR_THREE / OVERHEAD_BYTES


def test_a_value_grows_old() -> None:
    """After its time a value is not there, and takes no room."""
    clock = Clock()
    cache: BoundedCache[str] = BoundedCache(ROOM_FOR_THREE, 10.0, clock)
    cache.put("a", b"x")
    clock.now_s = 9.9
    assert cache.get("a") == b"x"
    clock.now_s = 10.0

    assert cache.get("a") is None
    assert cache.held_bytes == 0
