"""What is left of a fault when the runner that made it is killed or hangs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from aiohttp import web

from chaos.engine.control import ControlApi
from chaos.engine.journal import JOURNAL_FILE, append, open_injections, read
from chaos.engine.living import CONTROL_FILE
from chaos.engine.session import OwnSession
from chaos.engine.watchdog_link import Watchdog
from chaos.errors import HarnessError
from chaos.model.faults import Blackhole, Fault, Kill, Latency, Pause, Refuse
from chaos.runtime import proctree
from chaos.runtime.record import read_record
from tests.engine.clients import clients_of, until
from tests.engine.conftest import ROOT
from tests.engine.test_hangs import gone_with_chunks_in_flight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.engine.conftest import Bench

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]

FOR_S = 60.0
CLEAN_WITHIN_S = 2.0
READY_WITHIN_S = 20.0


@pytest_asyncio.fixture
async def living(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """The bench's stack as a living one: other processes find it and act on it through its control API."""
    monkeypatch.setenv("CHAOSBED_STATE", str(tmp_path))
    api = ControlApi(OwnSession(bench.stack, ROOT), bench.stack.topology, bench.faults, "secret")
    runner = web.AppRunner(api.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    told = {"url": f"http://{host}:{port}", "token": "secret", "pid": os.getpid()}
    (tmp_path / CONTROL_FILE).write_text(json.dumps(told))
    yield bench
    await runner.cleanup()


@asynccontextmanager
async def doomed(folder: Path, *faults: Fault, lease_s: float = FOR_S) -> AsyncIterator[Any]:
    """Start a runner that brings faults into force and hangs; yield its process and what it told."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.engine.doomed", str(folder), str(lease_s)),
        *(json.dumps(fault.to_json()) for fault in faults),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), READY_WITHIN_S)
        yield process, json.loads(line)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def clean(living: Bench, journal: Path, *, within_s: float = CLEAN_WITHIN_S) -> None:
    """Wait until nothing is in force and the journal says so."""
    residue: list[str] = []
    try:
        async with asyncio.timeout(within_s):
            while open_injections(journal) or (residue := await living.faults.residue()):  # noqa: ASYNC110 - there is no event for what others do
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"still there after {within_s:g} s: {residue}") from None


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    process = proctree.identify(pid)
    return process is None or not process.alive


@pytest.mark.parametrize(
    "faults",
    [
        (Refuse("redis-cache"),),
        (Latency("redis-cache"), Blackhole("redis-broker")),
        (Pause("redis"),),
        (Kill("redis"),),
        (Refuse("echo"), Latency("redis-cache"), Kill("redis"), Pause("echo")),
    ],
    ids=lambda faults: "+".join(fault.kind for fault in faults),
)
async def test_a_killed_runner_leaves_a_shared_stack_clean(
    living: Bench, tmp_path: Path, faults: tuple[Fault, ...]
) -> None:
    """2 s after kill -9 no toxic, no closed route, nothing paused or missing is left, and no load generator."""
    folder = tmp_path / "run"
    folder.mkdir()
    async with (
        clients_of(living.address("edge-redis-cache")) as clients,
        doomed(folder, *faults) as (runner, told),
    ):
        assert len(await living.faults.residue()) >= len(faults)
        os.kill(runner.pid, signal.SIGKILL)
        await clean(living, folder / JOURNAL_FILE)
        assert gone(told["load"])
        served = clients.answered
        await until(lambda: clients.answered > served + 20, "the clients are served again")
    healed = [line for line in read(folder / JOURNAL_FILE) if line["event"] == "healed"]
    assert [line["id"] for line in healed] == [f"i{n}" for n in range(len(faults), 0, -1)]
    assert {line["by"] for line in healed} == {"watchdog"}


async def test_a_hanging_control_api_does_not_stop_the_watchdog(
    living: Bench, tmp_path: Path
) -> None:
    """In the state where Toxiproxy would not answer, the living stack starts that edge again: clean in 2 s."""
    folder = tmp_path / "run"
    folder.mkdir()
    async with doomed(folder, Latency("redis-cache", delay_ms=2_000)) as (runner, _):
        await gone_with_chunks_in_flight(living)
        pid = (await living.stack.state("edge-redis-cache")).pid
        os.kill(runner.pid, signal.SIGKILL)
        await clean(living, folder / JOURNAL_FILE)
    assert (await living.stack.state("edge-redis-cache")).pid != pid


@pytest.mark.parametrize("fault", [Blackhole("redis-cache"), Pause("redis"), Kill("redis")])
async def test_no_fault_outlives_its_lease(living: Bench, tmp_path: Path, fault: Fault) -> None:
    """While the runner hangs, its fault ends by itself: at the latest 2 s after its planned end and a look."""
    folder = tmp_path / "run"
    folder.mkdir()
    lease_s = 0.5
    async with doomed(folder, fault, lease_s=lease_s) as (runner, _):
        os.kill(runner.pid, signal.SIGSTOP)
        (asked,) = open_injections(folder / JOURNAL_FILE)
        left_s = asked["lease_until_wall"] - time.time()
        assert left_s <= lease_s + 2.0
        await clean(living, folder / JOURNAL_FILE, within_s=left_s + CLEAN_WITHIN_S)
        os.kill(runner.pid, signal.SIGCONT)
    (healed,) = (line for line in read(folder / JOURNAL_FILE) if line["event"] == "healed")
    assert healed["why"] == "its lease ran out"
    assert healed["t_s"] - asked["t_s"] < lease_s + 2.0 + CLEAN_WITHIN_S


async def test_a_killed_runner_takes_its_own_stack_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 s after kill -9 no process of a private stack is left, not even a paused one, and no load generator."""
    monkeypatch.setenv("CHAOSBED_STATE", str(tmp_path / "state"))
    folder = tmp_path / "run"
    folder.mkdir()
    async with doomed(folder, Pause("redis"), Latency("redis-cache")) as (runner, told):
        record = read_record(Path(told["stack"]))
        pids = [part["pid"] for part in record["components"].values()]
        assert len(pids) == 5
        os.kill(runner.pid, signal.SIGKILL)
        await until(
            lambda: all(gone(pid) for pid in [*pids, told["load"]]),
            "every process is gone",
            within_s=CLEAN_WITHIN_S,
        )
        await until(lambda: not open_injections(folder / JOURNAL_FILE), "the journal is closed")
        await until(lambda: not Path(told["stack"]).exists(), "the record is gone")


async def test_a_run_that_ends_lets_its_watchdog_go(bench: Bench, tmp_path: Path) -> None:
    """At the end of a run the watchdog is gone, and the stack it watched lives."""
    async with Watchdog(ROOT, tmp_path, OwnSession(bench.stack, ROOT)) as watching:
        process = watching._process
        assert process is not None
    assert process.returncode == 0
    assert await bench.faults.residue() == []


async def test_a_run_whose_watchdog_died_is_an_error(bench: Bench, tmp_path: Path) -> None:
    """Since nobody watched, the run says so at its end instead of passing."""
    watching = Watchdog(ROOT, tmp_path, OwnSession(bench.stack, ROOT))
    await watching.__aenter__()
    process = watching._process
    assert process is not None
    process.kill()
    await asyncio.wait_for(process.wait(), CLEAN_WITHIN_S)
    watching.register_pid(os.getpid())
    with pytest.raises(HarnessError, match="the watchdog died during the run"):
        await watching.__aexit__(None, None, None)


def watchdog(*arguments: str | Path) -> subprocess.Popen[bytes]:
    """Start a watchdog by hand, with its pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "chaos.engine.watchdog", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_done_ends_it_in_peace(tmp_path: Path) -> None:
    """After `done` it touches nothing and exits with 0, though a fault is still open."""
    append(tmp_path / JOURNAL_FILE, {"id": "i1", "event": "asked", "lease_until_wall": 1e12})
    process = watchdog("--run-folder", tmp_path, "--stack", tmp_path / "stack.json")
    process.communicate(b"done\n", timeout=READY_WITHIN_S)
    assert process.returncode == 0
    assert len(read(tmp_path / JOURNAL_FILE)) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signals_of_the_terminal_do_not_end_it(tmp_path: Path, number: int) -> None:
    """Only the runner's end does: a Ctrl-C for the runner must not take away who heals."""
    process = watchdog("--run-folder", tmp_path, "--stack", tmp_path / "stack.json")
    status = Path(f"/proc/{process.pid}/status")
    mask = 1 << (number - 1)

    def ignores() -> bool:
        line = next(x for x in status.read_text().splitlines() if x.startswith("SigIgn:"))
        return bool(int(line.split()[1], 16) & mask)

    await until(ignores, "it is up", within_s=READY_WITHIN_S)
    process.send_signal(number)
    process.communicate(b"done\n", timeout=READY_WITHIN_S)
    assert process.returncode == 0


def test_what_it_cannot_undo_it_says(tmp_path: Path) -> None:
    """Nonsense in one line of the journal neither ends it nor hides: a problem line, and exit code 4."""
    stack = tmp_path / "stack.json"
    stack.write_text("{}")
    undo = {"family": "process", "kind": "pause", "component": "redis"}
    line = {"event": "asked", "t_s": 1.0, "wall": time.time(), "lease_until_wall": 1e12}
    append(tmp_path / JOURNAL_FILE, {**line, "id": "i1", "undo": undo})
    append(tmp_path / JOURNAL_FILE, {**line, "id": "i2", "undo": {"family": "network"}})
    process = watchdog("--run-folder", tmp_path, "--stack", stack)
    _, said = process.communicate(timeout=READY_WITHIN_S)
    assert process.returncode == 4
    assert b"could not undo it" in said
    problems = {x["id"] for x in read(tmp_path / JOURNAL_FILE) if x["event"] == "problem"}
    assert problems == {"i1", "i2"}


def test_it_starts_quickly() -> None:
    """It stands before the first fault: nothing heavy is imported on its way."""
    code = "import sys, chaos.engine.watchdog; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    ).stdout.split()
    heavy = {"asyncio", "aiohttp", "pandas", "numpy", "yaml", "pydantic", "urllib.request"}
    assert heavy.isdisjoint(loaded)
