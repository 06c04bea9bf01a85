"""Claims about the final reads: what lies in real stores is told, and what cannot be read is told as such."""

from __future__ import annotations

import asyncio
import hashlib
import io
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import pytest
import pytest_asyncio
from aiohttp import web

from chaos.engine import final_reads
from chaos.engine.final_reads import Reader
from chaos.errors import UsageError
from chaos.model.invariants import Acknowledged
from chaos.model.reads import HttpDigest, MetricRead, ObjectDigest, ObjectList, SqlRead
from chaos.model.topology import Topology
from chaos.runtime.compose_file import load_topology
from chaos.runtime.local import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from chaos.runtime.base import Stack

ROOT = Path(__file__).parents[2]
PARTS = ("postgres", "s3")
BODY = b"what was acknowledged" * 10_000
NOTES = SqlRead(name="notes", query="SELECT id, size, at FROM notes ORDER BY id")
LISTED = ObjectList(name="objects", bucket="media")
DIGESTS = ObjectDigest(name="digests", bucket="media", key="notes/{id}", ids_of="note")

pytestmark = pytest.mark.live


def noted(*ids: str) -> tuple[Acknowledged, ...]:
    """Return acknowledged notes, one of them twice, and a write of another kind."""
    return tuple(
        Acknowledged(1.0, kind, id_) for kind, id_ in (*(("note", i) for i in ids), ("other", "z"))
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """PostgreSQL with two notes and a store with one of them, as the Compose file starts both."""
    whole = load_topology(ROOT / "compose" / "compose.yaml", environ={})
    parts = tuple(replace(whole.component(name), after=()) for name in PARTS)
    topology = Topology("stores", parts, folder=whole.folder)
    runtime = LocalRuntime(root=ROOT, state=tmp_path_factory.mktemp("state"))
    stack = await runtime.up(topology, time_scale=1.0, progress=lambda _: None)
    try:
        await asyncio.gather(_fill_database(stack), asyncio.to_thread(_fill_store, stack))
        yield stack
    finally:
        residue = await stack.down()
    assert residue.clean, residue


async def _fill_database(stack: Stack) -> None:
    user, password, database = final_reads.credentials(stack, NOTES)
    host, port = stack.address("postgres", 5432)
    connection = await asyncpg.connect(
        host=host, port=port, user=user, password=password, database=database, timeout=5
    )
    await connection.execute(
        "CREATE TABLE notes (id text, size numeric, at timestamptz);"
        "INSERT INTO notes VALUES ('a', 3, '2024-01-02T03:04:05Z'), ('b', 4.5, NULL)"
    )
    await connection.close(timeout=5)


def _fill_store(stack: Stack) -> None:
    client = final_reads._client(stack, LISTED)
    client.make_bucket("media")
    client.put_object("media", "notes/a", io.BytesIO(BODY), len(BODY))


@pytest.mark.asyncio(loop_scope="module")
async def test_rows_of_a_database_are_told_as_json_has_them(stack: Stack) -> None:
    """Numbers stay numbers, times become text, NULL stays null."""
    result = await Reader(stack).read_all((NOTES,))

    assert result["notes"]["rows"] == [
        {"id": "a", "size": 3, "at": "2024-01-02 03:04:05+00:00"},
        {"id": "b", "size": 4.5, "at": None},
    ]
    assert result["notes"]["took_s"] > 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_query_is_about_the_acknowledged_ids_of_its_kind(stack: Stack) -> None:
    """`$1` holds each id of the kind once, and none of another kind."""
    query = "SELECT id FROM unnest($1::text[]) AS wanted(id)"
    read = SqlRead(name="asked", query=query, ids_of="note")
    result = await Reader(stack).read_all((read,), noted("a", "c", "a"))

    assert result["asked"]["rows"] == [{"id": "a"}, {"id": "c"}]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_read_cannot_change_what_it_reads(stack: Stack) -> None:
    """A query that writes is refused by the server and is a problem, not rows."""
    read = SqlRead(name="wrong", query="DELETE FROM notes RETURNING id")
    result = await Reader(stack).read_all((read, NOTES))

    assert "read-only transaction" in result["wrong"]["problem"]
    assert len(result["notes"]["rows"]) == 2


@pytest.mark.asyncio(loop_scope="module")
async def test_objects_are_listed_and_hashed_and_missing_ones_told(stack: Stack) -> None:
    """The list has every key with its size; a digest is that of the bytes, and null where there is no object."""
    result = await Reader(stack).read_all((LISTED, DIGESTS), noted("a", "b"))

    assert result["objects"]["rows"] == [{"key": "notes/a", "size": len(BODY)}]
    assert result["digests"]["rows"] == [
        {"id": "a", "sha256": hashlib.sha256(BODY).hexdigest(), "size": len(BODY)},
        {"id": "b", "sha256": None, "size": None},
    ]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("read", "words"),
    [
        (replace(NOTES, query="SELECT 1 FROM nowhere"), 'relation "nowhere" does not exist'),
        (replace(NOTES, query="SELECT pg_sleep(9)", within_s=0.3), "Timeout|no answer within 0.3"),
        (replace(NOTES, user_env="POSTGRES_USR"), "POSTGRES_USR is not in the environment"),
        (replace(NOTES, port=1), "no port 1"),
        (replace(LISTED, bucket="nothing-here"), "NoSuchBucket"),
        (replace(DIGESTS, bucket="nothing-here"), "NoSuchBucket"),
    ],
)
async def test_what_cannot_be_read_is_a_problem_and_ends_nothing(
    stack: Stack, read: Any, words: str
) -> None:
    """A wrong query, a silent server, missing credentials or a missing bucket leave a sentence instead of rows."""
    result = await Reader(stack).read_all((read,), noted("a"))

    assert "rows" not in result[read.name]
    assert any(word in result[read.name]["problem"] for word in words.split("|"))


@pytest.mark.asyncio(loop_scope="module")
async def test_settling_ends_when_nothing_is_left(stack: Stack) -> None:
    """It waits for as long as a condition gives a row, and no longer."""
    later = "SELECT id FROM notes WHERE clock_timestamp() < $limit$"
    user, password, database = final_reads.credentials(stack, NOTES)
    host, port = stack.address("postgres", 5432)
    connection = await asyncpg.connect(
        host=host, port=port, user=user, password=password, database=database, timeout=5
    )
    until = await connection.fetchval("SELECT clock_timestamp() + interval '0.6 s'")
    await connection.close(timeout=5)
    condition = replace(NOTES, query=later.replace("$limit$", f"'{until}'::timestamptz"))
    settled = await Reader(stack).settle((condition,), within_s=20)

    assert settled["settled"]
    assert settled["left"] == []
    assert 0.2 <= settled["after_s"] < 20


@pytest.mark.asyncio(loop_scope="module")
async def test_settling_gives_up_at_its_limit_and_says_what_was_left(stack: Stack) -> None:
    """Rows that stay, and a condition that cannot be read, are never taken for rest."""
    broken = replace(NOTES, name="broken", query="SELECT 1 FROM nowhere")
    settled = await Reader(stack).settle((NOTES, broken), within_s=0.5)

    assert not settled["settled"]
    assert any(text.startswith("notes: {'id': 'a'") for text in settled["left"])
    assert any(text.startswith("broken: ") for text in settled["left"])


@dataclass(frozen=True)
class OnePort:
    """A stack of one component at one address."""

    port: int

    def address(self, _component: str, _port: int) -> tuple[str, int]:
        """Return it."""
        return "127.0.0.1", self.port


@asynccontextmanager
async def served(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[Reader]:
    """Serve every path with `handler`."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Reader(cast("Stack", OnePort(runner.addresses[0][1])))
    finally:
        await runner.cleanup()


async def test_answers_are_hashed_with_their_status() -> None:
    """Each id is asked for on its own path; an error's status is told beside the digest of its body."""

    async def answer(request: web.Request) -> web.Response:
        known = request.path == "/notes/a/file"
        return web.Response(body=BODY, status=200 if known else 404)

    read = HttpDigest(
        name="files", component="app", port=80, path="/notes/{id}/file", ids_of="note"
    )
    async with served(answer) as reader:
        rows = (await reader.read_all((read,), noted("a", "b")))["files"]["rows"]

    assert [(row["id"], row["status"]) for row in rows] == [("a", 200), ("b", 404)]
    assert rows[0]["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert rows[0]["size"] == len(BODY)


async def test_series_above_their_bound_are_rows_and_an_unknown_family_is_a_problem() -> None:
    """A gauge at 0 gives no row; a family that nobody exposes is not the same as one that is 0."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text='files{at="a"} 0\nfiles{at="b"} 2.0\nfiles_total 7\n')

    read = MetricRead(name="files", component="app", port=80, family="files")
    other = replace(read, name="other", family="file")
    async with served(answer) as reader:
        result = await reader.read_all((read, other))

    assert result["files"]["rows"] == [{"labels": {"at": "b"}, "value": 2.0}]
    assert "does not expose file" in result["other"]["problem"]


async def test_an_endless_answer_costs_no_more_than_the_limit() -> None:
    """A server that goes on and on is a problem after the read's own limit."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)

    read = HttpDigest(
        name="files", component="app", port=80, path="/{id}", ids_of="note", within_s=0.4
    )
    async with served(drip) as reader:
        result = await reader.read_all((read,), noted("a"))

    assert result["files"]["problem"] == "no answer within 0.4 s"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(NOTES, within_s=0), "up to 60 s"),
        (lambda: replace(DIGESTS, key="notes/a"), "expected '{id}' in key"),
        (lambda: replace(DIGESTS, ids_of=""), "kind of acknowledged writes"),
    ],
)
def test_a_read_that_makes_no_sense_cannot_be_made(make: Any, words: str) -> None:
    """No limit, or the same object for every id, is refused when the value is built."""
    with pytest.raises(UsageError, match=words):
        make()
