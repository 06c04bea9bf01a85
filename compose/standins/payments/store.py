"""The provider's state on disk: one SQLite file, one thread that writes it, one transaction a request.

What a request changes, the events of it, their deliveries and the answer that its idempotency key
replays are committed together, before the answer is sent. So a kill at any moment leaves all of them or
none: a repeated request is either done for the first time or answered as it was.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
import string
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from compose.standins.payments.errors import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

API_VERSION = "2026-10-28.endive"
KEPT_KEYS_S = 24 * 3600.0
BUSY_S = 5.0
_LETTERS = string.ascii_letters + string.digits
_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    created INTEGER NOT NULL, due REAL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS objects_kind ON objects (kind, seq);
CREATE INDEX IF NOT EXISTS objects_due ON objects (due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS objects_customer ON objects (kind, json_extract(body, '$.customer'), seq);
CREATE INDEX IF NOT EXISTS objects_intent ON objects (kind, json_extract(body, '$.payment_intent'), seq);
CREATE INDEX IF NOT EXISTS objects_type ON objects (kind, json_extract(body, '$.type'), seq);
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL,
    request TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS answers_at ON answers (at);
CREATE TABLE IF NOT EXISTS deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, state TEXT NOT NULL,
    at REAL NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, due);
CREATE INDEX IF NOT EXISTS deliveries_event ON deliveries (event);
CREATE TABLE IF NOT EXISTS balances (currency TEXT PRIMARY KEY, amount INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value REAL NOT NULL);
"""

Object = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cause:
    """The request that an event is caused by."""

    request: str | None
    idempotency_key: str | None


class Transaction:
    """All that a request may do to the state; everything of it stands or nothing."""

    def __init__(
        self, connection: sqlite3.Connection, now: float, *, webhooks: bool, cause: Cause
    ) -> None:
        """Work on `connection`, at this time of the provider."""
        self.connection = connection
        self.now = int(now)
        self.exact_now = now
        self.emitted = 0
        self._webhooks = webhooks
        self._cause = cause

    def new_id(self, prefix: str, size: int = 24) -> str:
        """Return a new id."""
        return f"{prefix}_" + "".join(secrets.choice(_LETTERS) for _ in range(size))

    def add(self, prefix: str, kind: str, **fields: object) -> Object:
        """Keep a new object and return it."""
        body: Object = {
            "id": self.new_id(prefix),
            "object": kind,
            "created": self.now,
            "livemode": False,
            **fields,
        }
        self.connection.execute(
            "INSERT INTO objects (id, kind, created, due, body) VALUES (?, ?, ?, ?, ?)",
            (body["id"], kind, self.now, body.get("_due"), json.dumps(body)),
        )
        return body

    def save(self, body: Object) -> Object:
        """Keep what has changed in an object."""
        self.connection.execute(
            "UPDATE objects SET due = ?, body = ? WHERE id = ?",
            (body.get("_due"), json.dumps(body), body["id"]),
        )
        return body

    def find(self, kind: str, given: str) -> Object | None:
        """Return an object, None when there is none of this kind."""
        row = self.connection.execute(
            "SELECT body FROM objects WHERE id = ? AND kind = ?", (given, kind)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def get(self, kind: str, given: str, *, param: str = "", status: int = 400) -> Object:
        """Return an object that must be there. Raises `ApiError`."""
        found = self.find(kind, given)
        if found is None:
            raise missing(kind, given, param=param or kind, status=status)
        return found

    def select(
        self,
        kind: str,
        where: Mapping[str, object],
        *,
        tail: str = "ORDER BY seq DESC",
        limit: int = 100,
    ) -> list[Object]:
        """Return the objects of a kind whose fields (or SQL conditions with `?`) have these values."""
        clauses, values = ["kind = ?"], [kind]
        for name, value in where.items():
            clauses.append(name if "?" in name else f"json_extract(body, '$.{name}') = ?")
            values.append(value)  # type: ignore[arg-type] # SQLite takes text and numbers alike
        # The names come from this program, never from a request.
        query = f"SELECT body FROM objects WHERE {' AND '.join(clauses)} {tail} LIMIT ?"  # noqa: S608 - see above
        return [json.loads(row[0]) for row in self.connection.execute(query, (*values, limit))]

    def any(self, given: str) -> Object | None:
        """Return the object of any kind that has this id."""
        row = self.connection.execute("SELECT body FROM objects WHERE id = ?", (given,)).fetchone()
        return None if row is None else json.loads(row[0])

    def position(self, kind: str, given: str, param: str) -> int:
        """Return where in its list an object stands. Raises `ApiError`."""
        row = self.connection.execute(
            "SELECT seq FROM objects WHERE id = ? AND kind = ?", (given, kind)
        ).fetchone()
        if row is None:
            raise missing(kind, given, param=param)
        return int(row[0])

    def emit(self, kind: str, body: Object, previous: Object | None = None) -> None:
        """Keep an event about an object as it is now, and its delivery."""
        data: Object = {"object": public(body)}
        if previous is not None:
            data["previous_attributes"] = previous
        event = self.add(
            "evt",
            "event",
            api_version=API_VERSION,
            data=data,
            request={"id": self._cause.request, "idempotency_key": self._cause.idempotency_key},
            type=kind,
        )
        if self._webhooks:
            self.connection.execute(
                "INSERT INTO deliveries (event, state, at, due, attempts) VALUES (?, 'pending', ?, ?, 0)",
                (event["id"], self.exact_now, self.exact_now),
            )
        self.emitted += 1

    def balance(self, currency: str) -> int:
        """Return what the platform has in a currency."""
        row = self.connection.execute(
            "SELECT amount FROM balances WHERE currency = ?", (currency,)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def move(self, currency: str, amount: int, kind: str, source: str) -> Object:
        """Change the platform's balance; return the entry that says why."""
        self.connection.execute(
            "INSERT INTO balances VALUES (?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
            (currency, amount),
        )
        return self.add(
            "txn",
            "balance_transaction",
            amount=amount,
            available_on=self.now,
            currency=currency,
            fee=0,
            fee_details=[],
            net=amount,
            source=source,
            status="available",
            type=kind,
        )


class Store:
    """The database and the one thread that uses it."""

    def __init__(self, folder: Path, clock: Callable[[], float], *, webhooks: bool) -> None:
        """Open the state in `folder`; it is made when there is none. Raises `OSError`, `sqlite3.Error`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._webhooks = webhooks
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="payments-store")
        self._connection = sqlite3.connect(
            folder / "payments.sqlite3",
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_S,
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SCHEMA)
        row = self._connection.execute(
            "SELECT value FROM settings WHERE name = 'ahead_s'"
        ).fetchone()
        self._ahead_s = 0.0 if row is None else float(row[0])

    def now(self) -> float:
        """Return the provider's time."""
        return self._clock() + self._ahead_s

    async def run(self, work: Callable[[Transaction], T], cause: Cause | None = None) -> T:
        """Do `work` in a transaction: all of it is kept when it returns, nothing when it raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, self._transact, work, cause or Cause(None, None)
        )

    async def advance(self, seconds: float) -> None:
        """Set the provider's clock ahead, over a restart too."""
        self._ahead_s += seconds
        ahead_s = self._ahead_s

        def keep(tx: Transaction) -> None:
            tx.connection.execute(
                "INSERT OR REPLACE INTO settings VALUES ('ahead_s', ?)", (ahead_s,)
            )

        await self.run(keep)

    async def close(self) -> None:
        """Let work under way end, and close the file."""
        await asyncio.to_thread(self._thread.shutdown)
        self._connection.close()

    def _transact(self, work: Callable[[Transaction], T], cause: Cause) -> T:
        tx = Transaction(self._connection, self.now(), webhooks=self._webhooks, cause=cause)
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(tx)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return result


def public(body: Object) -> Object:
    """Return an object as others see it: what begins with `_` is the provider's own."""
    return {
        name: public(value) if isinstance(value, dict) else value
        for name, value in body.items()
        if not name.startswith("_")
    }
