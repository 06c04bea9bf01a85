"""What only the local runtime promises: processes, ports and users of this machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from chaos.errors import HarnessError, SetupError, UsageError
from chaos.runtime import ports, proctree
from chaos.runtime.compose_file import load_topology
from chaos.runtime.local import LocalRuntime, LocalStack, kill_recorded
from tests.contract.clients import LIMIT_S, refuses, until
from tests.contract.conftest import HERE, ROOT, altered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from chaos.model.topology import Topology

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere the watchdog ends orphans; the kernel offers no way"
)

OWNER = """
import asyncio, sys
from pathlib import Path
from chaos.runtime.compose_file import load_topology
from chaos.runtime.local import LocalRuntime

async def main():
    runtime = LocalRuntime(root=Path(sys.argv[1]), state=Path(sys.argv[2]))
    stack = await runtime.up(load_topology(Path(sys.argv[3])), time_scale=1.0, progress=lambda _: None)
    for name in sys.argv[4:]:
        await stack.pause(name)
    print(stack.folder / "stack.json", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def pids_of(record: dict[str, object]) -> list[int]:
    """Return every process that a stack has now, found by its marker and by what stack.json says."""
    components = record["components"]
    assert isinstance(components, dict)
    family = proctree.Family(
        leaders=tuple(
            proctree.Process(pid=pid, start=start)
            for part in components.values()
            for pid, start in part["processes"]
        ),
        marker=f"{record['id']}/",
        folders=tuple(part["data"] for part in components.values()),
        programs=tuple(part["program"] for part in components.values()),
    )
    return [process.pid for process in proctree.members(family)]


class Owner:
    """Another process that brought a stack up and holds it."""

    def __init__(self, process: asyncio.subprocess.Process, stack_json: Path) -> None:
        self.process = process
        self.stack_json = stack_json
        self.record = json.loads(stack_json.read_text())

    @classmethod
    async def begin(cls, state: Path, compose: str, *paused: str) -> Owner:
        """Start it and wait until its stack is up."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            OWNER,
            str(ROOT),
            str(state),
            str(HERE / compose),
            *paused,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        return cls(process, Path(line.decode().strip()))

    async def kill(self) -> None:
        """End it as the kernel would, with no chance to clean up."""
        self.process.send_signal(signal.SIGKILL)
        await asyncio.wait_for(self.process.wait(), LIMIT_S)


@linux_only
@pytest.mark.parametrize("paused", [(), ("redis",)], ids=["running", "paused"])
async def test_children_die_with_their_owner(state: Path, paused: tuple[str, ...]) -> None:
    """`kill -9` of the owner leaves no child and no port within 2 s, also when a child was paused."""
    owner = await Owner.begin(state, "compose.yaml", *paused)
    assert len(pids_of(owner.record)) == 2
    await owner.kill()
    await until(lambda: not pids_of(owner.record), "all children gone", within_s=2.0)
    assert ports.busy(owner.record["ports"]) == ()


async def test_a_recorded_stack_can_be_ended_from_outside(state: Path) -> None:
    """With the owner still alive, stack.json alone is enough to end everything, twice without harm."""
    owner = await Owner.begin(state, "compose.yaml", "redis")
    try:
        assert kill_recorded(owner.stack_json).clean
        assert pids_of(owner.record) == []
        assert not owner.stack_json.exists()
        assert kill_recorded(owner.stack_json).clean
    finally:
        await owner.kill()


async def test_the_next_stack_sweeps_up_an_abandoned_one(state: Path, topology: Topology) -> None:
    """PostgreSQL's paused backends outlive a killed owner, for they are sessions of their own; `up` ends them."""
    owner = await Owner.begin(state, "postgres.yaml", "postgres")
    await owner.kill()
    stack = await LocalRuntime(root=ROOT, state=state).up(
        topology, time_scale=1.0, progress=lambda _: None
    )
    try:
        assert pids_of(owner.record) == []
        assert not owner.stack_json.exists()
    finally:
        await stack.down()


async def test_stack_json_tells_the_present_state(stack: LocalStack) -> None:
    """Every change of a process is on disk when the call returns, for the owner only to read."""
    path = stack.folder / "stack.json"
    assert path.stat().st_mode & 0o777 == 0o600
    before = json.loads(path.read_text())
    assert before == json.loads(json.dumps(stack.describe()))
    assert before["components"]["redis"]["addresses"]["6379"] == list(stack.address("redis", 6379))
    await stack.restart("redis")
    after = json.loads(path.read_text())
    assert after["components"]["redis"]["pid"] == (await stack.state("redis")).pid
    assert after["components"]["redis"]["pid"] != before["components"]["redis"]["pid"]
    await stack.kill("redis")
    assert json.loads(path.read_text())["components"]["redis"]["condition"] == "exited"


async def test_a_taken_port_block_is_a_usage_error(state: Path, topology: Topology) -> None:
    """A block that a stack or anything else holds is refused before anything starts."""
    block = ports.claim()
    try:
        runtime = LocalRuntime(root=ROOT, state=state, port_base=block.base)
        with pytest.raises(UsageError, match=f"port block {block.base}-.* is taken: another stack"):
            await runtime.up(topology, time_scale=1.0, progress=lambda _: None)
    finally:
        block.release()
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", block.base + 7)
    async with server:
        with pytest.raises(
            UsageError, match=f"is taken: something listens on port {block.base + 7}"
        ):
            await runtime.up(topology, time_scale=1.0, progress=lambda _: None)
    assert list((state / "stacks").iterdir()) == []


async def test_a_chosen_port_block_is_used(state: Path, topology: Topology) -> None:
    """`port_base` puts every address into that block."""
    block = ports.claim()
    block.release()
    runtime = LocalRuntime(root=ROOT, state=state, port_base=block.base)
    stack = await runtime.up(topology, time_scale=1.0, progress=lambda _: None)
    try:
        used = [stack.address(part.name, p)[1] for part in topology.components for p in part.ports]
        assert used == [block.base, block.base + 1, block.base + 2]
    finally:
        await stack.down()


async def test_a_missing_tool_is_found_before_anything_starts(
    state: Path, topology: Topology
) -> None:
    """The error that names the next step comes through, and no folder is left."""

    def tool(name: str) -> Path:
        if name == "toxiproxy-server":
            raise SetupError("toxiproxy-server is missing; run `make setup`")
        return Path("/bin/false")

    with pytest.raises(SetupError, match="run `make setup`"):
        await LocalRuntime(root=ROOT, state=state, tool=tool).up(
            topology, time_scale=1.0, progress=lambda _: None
        )
    assert list((state / "stacks").iterdir()) == []


async def test_a_failed_up_leaves_nothing(state: Path, topology: Topology) -> None:
    """When one component cannot start, the others are ended, and only the logs stay."""
    broken = altered(topology, "greet", command=("{python}", "-c", "raise SystemExit(3)"))
    with pytest.raises(HarnessError, match="greet ended with exit code 3"):
        await LocalRuntime(root=ROOT, state=state).up(
            broken, time_scale=1.0, progress=lambda _: None
        )
    (folder,) = (state / "stacks").iterdir()
    assert [path.name for path in folder.iterdir()] == ["logs"]
    assert proctree.members(proctree.Family((), f"{folder.name}/")) == []


async def test_an_interrupted_up_leaves_nothing(state: Path, topology: Topology) -> None:
    """Ctrl-C while starting (a cancelled task) ends what was already running."""
    slow = altered(topology, "greet", command=("{python}", "-c", "import signal; signal.pause()"))
    started = asyncio.Event()
    seen: list[str] = []

    def progress(line: str) -> None:
        seen.append(line)
        if len(seen) == 2:
            started.set()

    task = asyncio.create_task(
        LocalRuntime(root=ROOT, state=state).up(slow, time_scale=1.0, progress=progress)
    )
    await asyncio.wait_for(started.wait(), LIMIT_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (folder,) = (state / "stacks").iterdir()
    assert proctree.members(proctree.Family((), f"{folder.name}/")) == []


async def test_the_runners_environment_stays_with_the_runner(
    state: Path, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A component sees its own variables and a bare minimum, so that a run does not depend on a shell."""
    monkeypatch.setenv("SECRET_OF_THE_SHELL", "x")
    show = altered(
        topology, "greet", command=("{python}", "-c", "import os; print(sorted(os.environ))")
    )
    stack = await LocalRuntime(root=ROOT, state=state).up(
        show, time_scale=1.0, progress=lambda _: None
    )
    try:
        text = stack.log_path("greet").read_text()
        assert "GREETING" in text
        assert "SECRET_OF_THE_SHELL" not in text
    finally:
        await stack.down()


@pytest.fixture
def postgres() -> Topology:
    """PostgreSQL alone."""
    return load_topology(HERE / "postgres.yaml", environ={})


@asynccontextmanager
async def connected(stack: LocalStack) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection with the password of the Compose file."""
    host, port = stack.address("postgres", 5432)
    connection = await asyncpg.connect(
        host=host,
        port=port,
        user="contract",
        password="contract",  # noqa: S106 - the Compose file's
        database="contract",
        timeout=LIMIT_S,
        command_timeout=LIMIT_S,
    )
    try:
        yield connection
    finally:
        connection.terminate()


async def test_pause_and_kill_reach_every_backend(
    start: Callable[[Topology], Awaitable[LocalStack]], postgres: Topology
) -> None:
    """PostgreSQL's backends are sessions of their own; a pause hangs them and a kill ends them all the same."""
    stack = await start(postgres)
    async with connected(stack) as connection:
        await stack.pause("postgres")
        query = asyncio.create_task(connection.fetchval("select 1"))
        _, waiting = await asyncio.wait([query], timeout=0.3)
        assert waiting
        await stack.resume("postgres")
        assert await asyncio.wait_for(query, LIMIT_S) == 1
        await stack.kill("postgres")
        assert pids_of(stack.describe()) == []
        await until(connection.is_closed, "the client sees the end of its connection")


async def test_committed_rows_survive_a_kill(
    start: Callable[[Topology], Awaitable[LocalStack]], postgres: Topology
) -> None:
    """A restart keeps the data folder, and PostgreSQL recovers what it had acknowledged."""
    stack = await start(postgres)
    async with connected(stack) as connection:
        await connection.execute("create table kept as select 42 as answer")
    await stack.kill("postgres")
    await stack.restart("postgres")
    async with connected(stack) as connection:
        assert await connection.fetchval("select answer from kept") == 42


async def test_a_wiped_database_is_prepared_again(
    start: Callable[[Topology], Awaitable[LocalStack]], postgres: Topology
) -> None:
    """Preparing runs on fresh data only: not at a restart, but again after a wipe."""
    stack = await start(postgres)
    async with connected(stack) as connection:
        await connection.execute("create table gone ()")
    await stack.replace("postgres", wipe=True)
    async with connected(stack) as connection:
        assert await connection.fetchval("select to_regclass('gone')") is None


@pytest.fixture
def closed_folder(tmp_path: Path) -> Path:
    """Return a folder that only its owner may enter, as a home usually is."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes to another user")
async def test_root_runs_postgres_as_nobody(closed_folder: Path, postgres: Topology) -> None:
    """As root, PostgreSQL runs as uid 65534, also where that user cannot enter the state folder."""
    stack = await LocalRuntime(root=ROOT, state=closed_folder).up(
        postgres, time_scale=1.0, progress=lambda _: None
    )
    data = Path(stack.describe()["components"]["postgres"]["data"])
    try:
        process = Path("/proc", str((await stack.state("postgres")).pid))
        assert owner_and_mode(process)[0] == 65534
        assert not data.is_relative_to(closed_folder)
        assert owner_and_mode(data) == (65534, 0o700)
        async with connected(stack) as connection:
            assert await connection.fetchval("select 1") == 1
    finally:
        await stack.down()
    with pytest.raises(FileNotFoundError):
        owner_and_mode(data)
    assert refuses(stack.address("postgres", 5432))


def owner_and_mode(path: Path) -> tuple[int, int]:
    """Return a file's owner and permissions."""
    status = path.stat()
    return status.st_uid, status.st_mode & 0o777
