"""Uploads for tests: files that look like videos, who sends them, and what of an upload is where."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import socket
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from minio.error import S3Error

from app.bucket import store_client
from app.core.config import Settings
from app.core.security.keys import Keys
from app.core.security.tokens import Identity, Tokens
from app.models import Role
from app.seed.world import build_world
from app.services.media import source_key
from tests.app.api.asgi import Answer, call
from tests.app.system import query

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from fastapi import FastAPI
    from pydantic import SecretStr

    from tests.app.system import System

CREATOR, ANOTHER_CREATOR, *_ = (user for user in build_world().users if user.role == "creator")
VIEWER = next(user for user in build_world().users if user.role == "viewer")
ADMIN = next(user for user in build_world().users if user.role == "admin")
PATH = "/api/v1/videos?title=A%20small%20clip"
# What `sniff` takes for MP4.
HEAD = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2"
LIMIT_S = 20.0

_numbers = count()


def clip(size: int = 20_000) -> bytes:
    """Return a file that begins as an MP4 does, and that no other test has sent."""
    return (HEAD + b"%024d" % next(_numbers)).ljust(size, b"\x55")


def new_key() -> str:
    """Return an Idempotency-Key that no other test has used."""
    return f"key-of-a-test-{next(_numbers)}"


def sha256(data: bytes) -> str:
    """Return the checksum in hex."""
    return hashlib.sha256(data).hexdigest()


def digest_of(data: bytes) -> str:
    """Return a Content-Digest."""
    return f"sha-256=:{b64encode(hashlib.sha256(data).digest()).decode()}:"


def video_id(key: str, user: Any = CREATOR) -> UUID:
    """Return which video an upload becomes."""
    return uuid5(user.id, key)


@cache
def _tokens(secret_key: SecretStr) -> Tokens:
    return Tokens(Keys.of(Settings(secret_key=secret_key)))


def bearer(system: System, user: Any = CREATOR) -> str:
    """Return what a user's requests carry as Authorization."""
    identity = Identity(user.id, Role(user.role), UUID(int=0))
    return f"Bearer {_tokens(system.settings().secret_key).issue_access(identity)[0]}"


async def upload(
    app: FastAPI, system: System, body: bytes, key: str, *, path: str = PATH, **headers: str
) -> Answer:
    """Upload as the creator; further headers by name, with _ for -."""
    sent = {
        "Authorization": bearer(system),
        "Idempotency-Key": key,
        "Content-Length": str(len(body)),
        "Content-Type": "video/mp4",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return await call(app, "POST", path, headers=list(sent.items()), body=body)


async def patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until the answer is another than "try again": machines that test are busy machines."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            answer = await ask()
            if answer.status not in {503, 504}:
                return answer
            await asyncio.sleep(0.05)


@dataclass(frozen=True)
class Traces:
    """What there is of an upload."""

    parts: int
    intents: int
    videos: int
    tasks: int
    objects: int


NOTHING = Traces(0, 0, 0, 0, 0)
ACCEPTED = Traces(0, 1, 1, 1, 1)


async def traces(system: System, key: str, user: Any = CREATOR) -> Traces:
    """Look for an upload everywhere."""
    video = video_id(key, user)
    intents, videos, tasks = [
        await query(system, f"SELECT count(*) FROM {table} WHERE {column} = $1", video)  # noqa: S608 - our own words
        for table, column in (("uploads", "video_id"), ("videos", "id"), ("outbox", "subject"))
    ]
    return Traces(len(parts(system)), intents, videos, tasks, _objects(system, video))


def parts(system: System) -> list[Path]:
    """Return the files that have arrived in part."""
    return [*Path(system.environment["LOCAL_STORE_DIR"]).glob("incoming/*")]


def _objects(system: System, video: UUID) -> int:
    settings = system.settings()
    try:
        store_client(settings, connections=1).stat_object(settings.s3_bucket, source_key(video))
    except S3Error as error:
        if error.code == "NoSuchKey":
            return 0
        raise
    return 1


def head_of(system: System, key: str, **headers: object) -> bytes:
    """Return the head of an upload as it goes over the wire."""
    sent = {
        "Host": "test",
        "Authorization": bearer(system),
        "Idempotency-Key": key,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def exchange(port: int, *pieces: bytes, close: bool = False) -> int | None:
    """Send bytes over a connection of their own; return the status of the answer, None when there was none."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if close:
            return None
        answer = http.client.HTTPResponse(connection)
        try:
            answer.begin()
        except (http.client.HTTPException, ConnectionError):
            return None
        answer.read()
        return answer.status


def send_file(
    system: System, port: int, key: str, pieces: Iterable[bytes], size: int
) -> tuple[int, bytes]:
    """Upload a large file over the wire, piece by piece; return status and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    headers = {
        "Authorization": bearer(system),
        "Idempotency-Key": key,
        "Content-Length": str(size),
    }
    try:
        connection.request("POST", PATH, pieces, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
