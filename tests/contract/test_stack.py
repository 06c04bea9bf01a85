"""What `Runtime` and `Stack` promise, whatever runs underneath."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientSession, ClientTimeout

from chaos.errors import HarnessError, UsageError
from chaos.model.topology import Readiness
from tests.contract.clients import LIMIT_S, redis_at, refuses
from tests.contract.conftest import altered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from chaos.model.topology import Topology
    from chaos.runtime.base import Runtime, Stack

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

SERVING = ("redis", "edge-redis-cache")


async def test_up_returns_when_every_component_serves(stack: Stack) -> None:
    """Right after `up`, a part and the edge that leads to it answer, and the one-shot has ended well."""
    for name in SERVING:
        assert (await stack.state(name)).condition == "running"
        async with redis_at(stack, name) as client:
            assert await client.ping()
    one_shot = await stack.state("greet")
    assert (one_shot.condition, one_shot.exit_code) == ("exited", 0)


async def test_everything_is_on_loopback(stack: Stack) -> None:
    """Each container port has an address of its own on 127.0.0.1."""
    addresses = [
        stack.address(part.name, port) for part in stack.topology.components for port in part.ports
    ]
    assert {host for host, _ in addresses} == {"127.0.0.1"}
    assert len(set(addresses)) == len(addresses) == 3


async def test_a_component_starts_after_those_it_waits_for(
    runtime: Runtime, topology: Topology
) -> None:
    """The one-shot ran last, so that what it wrote through the edge has arrived."""
    lines: list[str] = []
    stack = await runtime.up(topology, time_scale=1.0, progress=lines.append)
    try:
        async with redis_at(stack) as client:
            assert await client.get("greeting") == "hello"
    finally:
        await stack.down()
    order = [line.split()[0] for line in lines]
    assert order[2] == "greet"
    assert set(order[:2]) == set(SERVING)


async def test_an_unknown_component_or_port_is_named(stack: Stack) -> None:
    """A wrong name gives the nearest right one, a wrong port those that exist."""
    with pytest.raises(UsageError, match=r"unknown component 'reddis'; did you mean 'redis'\?"):
        await stack.kill("reddis")
    with pytest.raises(UsageError, match=r"'redis' has no port 5432; known: 6379"):
        stack.address("redis", 5432)


async def test_kill_ends_the_component_and_nothing_else(stack: Stack) -> None:
    """After `kill` returns nothing listens any more; the other parts run on. A second kill is harmless."""
    await stack.kill("redis")
    assert refuses(stack.address("redis", 6379))
    killed = await stack.state("redis")
    assert (killed.condition, killed.pid) == ("exited", 0)
    assert (await stack.state("edge-redis-cache")).condition == "running"
    await stack.kill("redis")


async def test_pause_hangs_clients_and_resume_answers_them(stack: Stack) -> None:
    """A paused component keeps its connections but answers none; after `resume` the same request is answered."""
    async with redis_at(stack) as client:
        assert await client.ping()
        await stack.pause("redis")
        assert (await stack.state("redis")).condition == "paused"
        request = asyncio.ensure_future(client.get("greeting"))
        _, waiting = await asyncio.wait([request], timeout=0.3)
        assert waiting
        await stack.resume("redis")
        assert await asyncio.wait_for(request, LIMIT_S) == "hello"
    assert (await stack.state("redis")).condition == "running"


async def test_resume_of_a_running_component_is_harmless(stack: Stack) -> None:
    """`resume` can be called to be sure."""
    await stack.resume("redis")
    assert (await stack.state("redis")).condition == "running"


async def test_pause_of_a_dead_component_is_refused(stack: Stack) -> None:
    """What cannot be paused is said, with the next step, instead of counting as a pause."""
    await stack.kill("redis")
    with pytest.raises(
        HarnessError, match="cannot pause redis: it was ended by SIGKILL; restart it first"
    ):
        await stack.pause("redis")


@pytest.mark.parametrize("before", ["running", "killed", "paused"])
async def test_restart_brings_a_component_back(stack: Stack, before: str) -> None:
    """From whatever state, the component serves again on the same address when `restart` returns."""
    address = stack.address("redis", 6379)
    if before == "killed":
        await stack.kill("redis")
    if before == "paused":
        await stack.pause("redis")
    await stack.restart("redis")
    assert stack.address("redis", 6379) == address
    state = await stack.state("redis")
    assert (state.condition, state.restarts) == ("running", 1)
    async with redis_at(stack, "edge-redis-cache") as client:
        assert await client.get("greeting") is None


async def test_an_edge_can_be_replaced_while_its_upstream_is_dead(stack: Stack) -> None:
    """The last resort of healing, killing and starting an edge, needs nothing but the edge itself."""
    await stack.kill("redis")
    await stack.kill("edge-redis-cache")
    await stack.restart("edge-redis-cache")
    await stack.restart("redis")
    async with redis_at(stack, "edge-redis-cache") as client:
        assert await client.ping()


async def test_replaced_files_hold_for_later_starts(stack: Stack) -> None:
    """A component runs with the text it was given, also after a restart."""
    await stack.replace("redis", files={"/etc/valkey/valkey.conf": 'save ""\ndatabases 7\n'})
    await stack.restart("redis")
    async with redis_at(stack) as client:
        assert await client.config_get("databases") == {"databases": "7"}


async def test_replaced_files_may_name_other_components(stack: Stack) -> None:
    """`name:port` in a replaced file becomes the address, as in a mounted one."""
    text = (
        '[{"name": "other", "listen": "0.0.0.0:6379", "upstream": "redis:6379", "enabled": true}]'
    )
    await stack.replace("edge-redis-cache", files={"/etc/toxiproxy/routes.json": text})
    async with redis_at(stack, "edge-redis-cache") as client:
        assert await client.ping()
    host, port = stack.address("edge-redis-cache", 8474)
    async with ClientSession(timeout=ClientTimeout(LIMIT_S)) as session:
        answer = await session.get(f"http://{host}:{port}/proxies")
        proxies = await answer.json()
    assert list(proxies) == ["other"]
    assert proxies["other"]["upstream"] == "{}:{}".format(*stack.address("redis", 6379))


async def test_a_file_that_is_not_mounted_cannot_be_replaced(stack: Stack) -> None:
    """The wrong path is found before the component is touched."""
    with pytest.raises(UsageError, match=r"unknown mounted file '/etc/valkey.conf'.* did you mean"):
        await stack.replace("redis", files={"/etc/valkey.conf": ""})
    assert (await stack.state("redis")).restarts == 0


async def test_replaced_environment_reaches_the_process(stack: Stack) -> None:
    """A one-shot that is run again with another variable does its work again."""
    await stack.replace("greet", environment={"GREETING": "goodbye"})
    async with redis_at(stack) as client:
        assert await client.get("greeting") == "goodbye"


async def test_data_outlives_a_restart_but_not_a_wipe(stack: Stack) -> None:
    """Volumes are kept until they are wiped; `before` can fill them while the component is down."""
    async with redis_at(stack) as client:
        await client.save()
    await stack.restart("redis")
    async with redis_at(stack) as client:
        assert await client.get("greeting") == "hello"
    seen: list[tuple[str, list[str], str]] = []

    async def before(folders: Mapping[str, Path]) -> None:
        condition = (await stack.state("redis")).condition
        seen.extend(
            (path, [f.name for f in folder.iterdir()], condition)
            for path, folder in folders.items()
        )
        (folders["/data"] / "note").write_text("filled")

    await stack.replace("redis", wipe=True, before=before)
    assert seen == [("/data", [], "exited")]
    async with redis_at(stack) as client:
        assert await client.get("greeting") is None


async def test_logs_go_on_over_restarts(stack: Stack) -> None:
    """One file a component holds the output of all its starts."""
    await stack.restart("redis")
    text = stack.log_path("redis").read_text()
    assert text.count("Ready to accept connections") == 2
    assert stack.log_path("greet").read_text() == "greeting hello: +OK\n"


async def test_two_stacks_stand_side_by_side(
    start: Callable[[Topology], Awaitable[Stack]], topology: Topology
) -> None:
    """Two stacks of one topology share no address, no data and no fate."""
    first, second = await asyncio.gather(start(topology), start(topology))
    assert first.address("redis", 6379) != second.address("redis", 6379)
    await first.kill("redis")
    async with redis_at(second, "edge-redis-cache") as client:
        assert await client.get("greeting") == "hello"


async def test_down_leaves_nothing_but_the_logs(stack: Stack) -> None:
    """After `down`, also with a paused and a dead component, no address answers; a second `down` is harmless."""
    addresses = [
        stack.address(part.name, port) for part in stack.topology.components for port in part.ports
    ]
    await stack.pause("redis")
    await stack.kill("edge-redis-cache")
    assert (await stack.down()).clean
    assert all(refuses(address) for address in addresses)
    assert stack.log_path("redis").exists()
    assert (await stack.down()).clean
    with pytest.raises(HarnessError, match="cannot start redis: the stack is down"):
        await stack.restart("redis")


async def test_a_component_that_dies_at_start_is_one_clear_error(
    runtime: Runtime, topology: Topology
) -> None:
    """`up` names the component, how it ended, its log and the reason that it gave."""
    command = (*topology.component("redis").command, "--no-such-setting", "1")
    with pytest.raises(HarnessError) as caught:
        await runtime.up(
            altered(topology, "redis", command=command), time_scale=1.0, progress=lambda _: None
        )
    assert "redis ended with exit code 1 before it was ready; the last lines of" in str(
        caught.value
    )
    assert "no-such-setting" in str(caught.value)


async def test_a_one_shot_that_fails_is_one_clear_error(
    runtime: Runtime, topology: Topology
) -> None:
    """A one-shot's exit code decides, and its output is shown."""
    broken = altered(
        topology, "greet", environment=(("TARGET", "redis:6379"), ("GREETING", "a b c"))
    )
    with pytest.raises(
        HarnessError, match=r"greet ended with exit code 1;(.|\n)*greeting a b c: -ERR"
    ):
        await runtime.up(broken, time_scale=1.0, progress=lambda _: None)


async def test_a_component_that_is_late_is_one_clear_error(
    runtime: Runtime, topology: Topology
) -> None:
    """Readiness has a limit, and the error says what was waited for."""
    never = Readiness(kind="http", port=6379, path="/ready", within_s=0.3)
    with pytest.raises(
        HarnessError, match=r"redis is late: no http answer on 127\.0\.0\.1:\d+ after 0\.3 s"
    ):
        await runtime.up(
            altered(topology, "redis", ready=never), time_scale=1.0, progress=lambda _: None
        )
