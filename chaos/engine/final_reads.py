"""The final reads: what lies in the stores when load and faults are over, on direct addresses, each within a limit.

What cannot be read is told as such, and never ends a run: an invariant without its reads is INCONCLUSIVE.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg
import urllib3
from minio import Minio
from minio.error import S3Error

from chaos.engine.probes import series_of
from chaos.errors import HarnessError, UsageError
from chaos.model import reads as rd

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from chaos.model.invariants import Acknowledged
    from chaos.runtime.base import Stack

Ids = tuple[str, ...]
LOOK_EVERY_S = 0.25
CONNECT_WITHIN_S = 1.0
CALL_WITHIN_S = 5.0
AT_ONCE = 4
SHOWN = 5
MISSING = frozenset({"NoSuchKey", "NoSuchObject"})
PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Reader:
    """Carries out reads on one stack."""

    stack: Stack

    async def read_all(
        self, reads: Iterable[rd.FinalRead], acknowledged: tuple[Acknowledged, ...] = ()
    ) -> dict[str, Any]:
        """Return by name {rows, took_s} of each read, or {problem, took_s} of one that could not be made."""
        out: dict[str, Any] = {}
        for read in reads:
            began = time.monotonic()
            result = await self._read(read, acknowledged)
            out[read.name] = {**result, "took_s": round(time.monotonic() - began, 3)}
        return out

    async def settle(self, conditions: tuple[rd.FinalRead, ...], within_s: float) -> dict[str, Any]:
        """Wait until none of the reads gives a row, `within_s` seconds at most.

        Returns {settled, after_s, left}: `left` tells what was still there at the last look, or what failed.
        """
        began = time.monotonic()
        while True:
            left = await self._left(conditions)
            after_s = round(time.monotonic() - began, 3)
            if not left or after_s >= within_s:
                return {"settled": not left, "after_s": after_s, "left": left}
            await asyncio.sleep(LOOK_EVERY_S)

    async def _left(self, conditions: tuple[rd.FinalRead, ...]) -> list[str]:
        results = await self.read_all(conditions)
        return [
            f"{name}: {what}"
            for name, result in results.items()
            for what in ([result["problem"]] if "problem" in result else result["rows"][:SHOWN])
        ]

    async def _read(
        self, read: rd.FinalRead, acknowledged: tuple[Acknowledged, ...]
    ) -> dict[str, Any]:
        ids = tuple(dict.fromkeys(a.id for a in acknowledged if a.kind == read.ids_of))
        try:
            async with asyncio.timeout(read.within_s):
                rows = await READERS[type(read)](self.stack, read, ids)
        except TimeoutError:
            return {"problem": f"no answer within {read.within_s:g} s"}
        except Exception as error:  # noqa: BLE001 (whatever it was: there are no rows, which must be told)
            return {"problem": f"{type(error).__name__}: {error}"}
        if len(rows) > rd.MAX_ROWS:
            return {"problem": f"{len(rows)} rows; expected at most {rd.MAX_ROWS}"}
        return {"rows": rows}


def credentials(stack: Stack, read: rd.FinalRead) -> tuple[str, ...]:
    """Return what lets one in, from the component's own environment. Raises `UsageError` when it is not there."""
    environment = dict(stack.topology.component(read.component).environment)
    return tuple(_variable(environment, name, read) for name in read.credentials)


def _variable(environment: dict[str, str], name: str, read: rd.FinalRead) -> str:
    if name not in environment:
        raise UsageError(
            f"read {read.name!r}: {name} is not in the environment of {read.component!r}; expected it in the Compose "
            "file"
        )
    return environment[name]


async def _sql(stack: Stack, read: rd.SqlRead, ids: Ids) -> list[rd.Row]:
    user, password, database = credentials(stack, read)
    host, port = stack.address(read.component, read.port)
    connection = await asyncpg.connect(
        host=host,
        port=port,
        user=user,
        password=password,
        database=database,
        timeout=CONNECT_WITHIN_S,
        command_timeout=read.within_s,
        server_settings={"default_transaction_read_only": "on"},
    )
    try:
        rows = await connection.fetch(read.query, *((list(ids),) if read.ids_of else ()))
    finally:
        connection.terminate()
    return [{key: _plain(value) for key, value in row.items()} for row in rows]


def _plain(value: object) -> object:
    """Return a value as JSON has it: numbers stay numbers, all else that JSON does not know becomes text."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


async def _objects(stack: Stack, read: rd.ObjectList, _ids: Ids) -> list[rd.Row]:
    return await _in_thread(lambda until: list(_listed(stack, read, until)), read.within_s)


def _listed(stack: Stack, read: rd.ObjectList, until: float) -> Iterator[rd.Row]:
    found = _client(stack, read).list_objects(read.bucket, prefix=read.prefix, recursive=True)
    for count, item in enumerate(found):
        if count > rd.MAX_ROWS:
            return
        _still(until)
        yield {"key": item.object_name, "size": item.size}


async def _object_digests(stack: Stack, read: rd.ObjectDigest, ids: Ids) -> list[rd.Row]:
    client = _client(stack, read)

    def all_of_them(until: float) -> list[rd.Row]:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(partial(_object_digest, client, read, until), ids))

    return await _in_thread(all_of_them, read.within_s)


def _object_digest(client: Minio, read: rd.ObjectDigest, until: float, id_: str) -> rd.Row:
    _still(until)
    try:
        answer = client.get_object(read.bucket, read.key.replace(rd.PLACE, id_))
    except S3Error as error:
        if error.code not in MISSING:
            raise
        return {"id": id_, "sha256": None, "size": None}
    digest, size = hashlib.sha256(), 0
    try:
        for piece in answer.stream(PIECE_BYTES):
            _still(until)
            digest.update(piece)
            size += len(piece)
    finally:
        answer.close()
        answer.release_conn()
    return {"id": id_, "sha256": digest.hexdigest(), "size": size}


def _client(stack: Stack, read: rd.ObjectRead) -> Minio:
    access, secret = credentials(stack, read)
    host, port = stack.address(read.component, read.port)
    pool = urllib3.PoolManager(
        maxsize=AT_ONCE,
        timeout=urllib3.Timeout(connect=CONNECT_WITHIN_S, read=CALL_WITHIN_S),
        retries=urllib3.Retry(0),
    )
    return Minio(
        f"{host}:{port}",
        access_key=access,
        secret_key=secret,
        secure=False,
        region="us-east-1",  # named, so that the client never asks where the bucket is
        http_client=pool,
    )


async def _in_thread(work: Callable[[float], list[rd.Row]], within_s: float) -> list[rd.Row]:
    """Run what blocks. A thread cannot be cancelled, so it looks at the time by itself and ends."""
    return await asyncio.to_thread(work, time.monotonic() + within_s)


def _still(until: float) -> None:
    if time.monotonic() > until:
        raise HarnessError("the read took longer than its limit")


async def _http_digests(stack: Stack, read: rd.HttpDigest, ids: Ids) -> list[rd.Row]:
    host, port = stack.address(read.component, read.port)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(http: aiohttp.ClientSession, id_: str) -> rd.Row:
        async with gate, http.get(read.path.replace(rd.PLACE, id_)) as response:
            digest, size = hashlib.sha256(), 0
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
            return {
                "id": id_,
                "status": response.status,
                "sha256": digest.hexdigest(),
                "size": size,
            }

    timeout = aiohttp.ClientTimeout(total=CALL_WITHIN_S, connect=CONNECT_WITHIN_S)
    async with aiohttp.ClientSession(f"http://{host}:{port}", timeout=timeout) as http:
        return list(await asyncio.gather(*(one(http, id_) for id_ in ids)))


async def _metrics(stack: Stack, read: rd.MetricRead, _ids: Ids) -> list[rd.Row]:
    host, port = stack.address(read.component, read.port)
    timeout = aiohttp.ClientTimeout(total=CALL_WITHIN_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        http.get(f"http://{host}:{port}{read.path}") as response,
    ):
        response.raise_for_status()
        text = await response.text()
    found = list(series_of(text, read.family))
    if not found:
        raise HarnessError(f"{read.component} does not expose {read.family}")
    return [{"labels": labels, "value": value} for labels, value in found if value > read.above]


READERS: dict[type, Callable[..., Coroutine[Any, Any, list[rd.Row]]]] = {
    rd.SqlRead: _sql,
    rd.ObjectList: _objects,
    rd.ObjectDigest: _object_digests,
    rd.HttpDigest: _http_digests,
    rd.MetricRead: _metrics,
}
