"""Final reads as values: what is read of the stores when a run has ended, past every edge that a fault can cut.

The engine carries them out and knows nothing of what they mean. Each gives rows, JSON objects, that invariants judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chaos.errors import UsageError

Row = dict[str, Any]
MAX_ROWS = 200_000
"""More than that of one read is a read that failed: half of the rows would prove nothing."""
PLACE = "{id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalRead:
    """What every read has: a name, the component and its container port, and a limit in time.

    With `opening` it is read before the load, too, so that an invariant can compare. With `ids_of` it is about the ids
    of all acknowledged writes of that kind.
    """

    name: str
    component: str
    port: int
    within_s: float = 10.0
    opening: bool = False
    ids_of: str = ""

    def __post_init__(self) -> None:
        """Refuse a read without an end."""
        if not 0 < self.within_s <= 60:  # noqa: PLR2004 (bounds)
            raise UsageError(f"read {self.name!r}: within_s={self.within_s:g}; expected up to 60 s")

    @property
    def credentials(self) -> tuple[str, ...]:
        """Return the variables of the component's own environment that let one in."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlRead(FinalRead):
    """The rows of one query to a PostgreSQL server; with `ids_of`, `$1` is the array of those ids as text."""

    query: str
    component: str = "postgres"
    port: int = 5432
    user_env: str = "POSTGRES_USER"
    password_env: str = "POSTGRES_PASSWORD"  # noqa: S105 (the name of a variable)
    database_env: str = "POSTGRES_DB"

    @property
    def credentials(self) -> tuple[str, ...]:
        """Return the variables of the server's own environment."""
        return (self.user_env, self.password_env, self.database_env)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRead(FinalRead):
    """What reads of an S3 store share."""

    bucket: str
    component: str = "s3"
    port: int = 7070
    access_env: str = "ROOT_ACCESS_KEY"
    secret_env: str = "ROOT_SECRET_KEY"  # noqa: S105 (the name of a variable)

    @property
    def credentials(self) -> tuple[str, ...]:
        """Return the variables of the store's own environment."""
        return (self.access_env, self.secret_env)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectList(ObjectRead):
    """Every object of a bucket: rows {key, size}."""

    prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDigest(ObjectRead):
    """The objects whose key is `key` with each id in the place of "{id}": rows {id, sha256, size}; null for none."""

    key: str

    def __post_init__(self) -> None:
        """Refuse a key that is the same for all."""
        super(ObjectDigest, self).__post_init__()
        _with_place(self, "key", self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDigest(FinalRead):
    """What GET answers on `path` with each id in the place of "{id}": rows {id, status, sha256, size}."""

    path: str

    def __post_init__(self) -> None:
        """Refuse a path that is the same for all."""
        super(HttpDigest, self).__post_init__()
        _with_place(self, "path", self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRead(FinalRead):
    """The series of one metric family whose value is more than `above`: rows {labels, value}.

    A family that is not exposed at all is a read that failed, not a read without rows.
    """

    family: str
    above: float = 0.0
    path: str = "/metrics"


def _with_place(read: FinalRead, field: str, value: str) -> None:
    if PLACE not in value or not read.ids_of:
        raise UsageError(
            f"read {read.name!r}: {field}={value!r}, ids_of={read.ids_of!r}; expected {PLACE!r} in {field}, and "
            "the kind of acknowledged writes whose ids stand there"
        )
