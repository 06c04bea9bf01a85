"""What a component is started with: addresses, placeholders, durations, files."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chaos.errors import UsageError
from chaos.runtime.addresses import AddressBook
from chaos.runtime.interpolation import interpolate
from chaos.runtime.placeholders import scaled_duration
from chaos.runtime.render import Renderer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.conftest import Load

BOOK = AddressBook(
    {
        ("redis", 6379): 20000,
        ("edge-cache", 6379): 20001,
        ("edge-cache", 8474): 20002,
        ("app", 8000): 20003,
    }
)


@pytest.fixture
def renderer(load: Load, tmp_path: Path) -> Callable[..., Renderer]:
    """Return a maker of renderers of the small file, at time scale 10."""

    def make(render: Callable[[str, str, str], str] | None = None) -> Renderer:
        return Renderer(
            topology=load(),
            root=tmp_path,
            folder=tmp_path / "stack",
            book=BOOK,
            time_scale=10.0,
            tool=lambda name: Path(f"/tools/{name}"),
            uid=None,
            render=render,
        )

    return make


def test_a_shared_volume_is_its_owners_folder(
    load: Load, renderer: Callable[..., Renderer]
) -> None:
    """A service that mounts another's volume works in the same folder, and does not wipe it with its own."""
    made = renderer()
    shared = load(
        'volumes: ["./conf:/etc/app:ro"]\n    depends_on:',
        'volumes: ["./conf:/etc/app:ro", "redis-data:/shared"]\n    depends_on:\n'
        "      redis: { condition: service_healthy }",
    )
    made = replace(made, topology=shared)
    redis, app = shared.component("redis"), shared.component("app")

    assert made.data(app)["/shared"] == made.data(redis)["/data"]
    made.make_data(redis, wipe=False)
    (made.data(redis)["/data"] / "kept").touch()
    made.make_data(app, wipe=True)
    assert (made.data(app)["/shared"] / "kept").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://redis:6379/0", "redis://127.0.0.1:20000/0"),
        ("edge-cache:6379", "127.0.0.1:20001"),
        ("u:p@redis:6379", "u:p@127.0.0.1:20000"),
        ("redis:6379,edge-cache:6379", "127.0.0.1:20000,127.0.0.1:20001"),
        ("0.0.0.0:8000", "127.0.0.1:20003"),
        ("my-redis:6379 redis:63790 redis:6379x", "my-redis:6379 redis:63790 redis:6379x"),
        ("valkey/redis:7.2 redis:6380 0.0.0.0:9", "valkey/redis:7.2 redis:6380 0.0.0.0:9"),
    ],
)
def test_known_addresses_are_replaced_and_nothing_else(text: str, expected: str) -> None:
    """Only a whole `name:port` that the stack has becomes a loopback address."""
    assert BOOK.rewrite(text, own="app") == expected


@pytest.mark.parametrize(
    ("text", "scale", "expected"),
    [
        ("5m", 60, "5s"), ("5m", 1, "5m"), ("1m30s", 60, "1500ms"), ("2h", 60, "2m"),
        ("1m", 7, "8571ms"), ("1ms", 60, "1ms"), ("1d", 1, "24h"),
    ],
)  # fmt: skip
def test_durations_shrink_with_the_time_scale(text: str, scale: float, expected: str) -> None:
    """A scaled duration is exact to the millisecond and never zero."""
    assert scaled_duration(text, scale) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A ${A} ${A:-x}", "a a a"),
        ("${B:-x} ${B-x}", "x "),
        ("${C:-x} ${C-x} ${C:-}", "x x "),
        ("$$A costs 5 $$", "$A costs 5 $"),
    ],
)
def test_variables_follow_compose(text: str, expected: str) -> None:
    """With a colon an empty variable counts as unset; `$$` is a dollar."""
    assert interpolate({"k": [text]}, {"A": "a", "B": ""}, where="") == {"k": [expected]}


def test_a_launch_is_fully_resolved(renderer: Callable[..., Renderer], tmp_path: Path) -> None:
    """No placeholder, Compose name or container path is left in what is started."""
    made = renderer()
    launch = made.launch(made.topology.component("app"), {"EXTRA": "redis:6379"})
    copy = tmp_path / "stack/files/app/etc/app/rules/a.yml"
    assert launch.command == (sys.executable, "-m", "app", "--rules", str(copy))
    assert launch.declared == {
        "HOST": "127.0.0.1",
        "PORT": "20003",
        "CACHE": "127.0.0.1:20001",
        "EVERY_S": "0.5",
        "EXTRA": "127.0.0.1:20000",
    }
    assert launch.cwd == tmp_path
    redis = made.launch(made.topology.component("redis"), {})
    assert redis.command == (
        "/tools/valkey-server", "--port", "20000", "--dir", str(tmp_path / "stack/data/redis/data"),
    )  # fmt: skip


def test_a_scaled_variable_has_a_floor(renderer: Callable[..., Renderer]) -> None:
    """An interval shrinks with the time scale, but not below what the component can do."""
    made = renderer()
    assert (
        made.launch(made.topology.component("app"), {"EVERY_S": "1"}).declared["EVERY_S"] == "0.2"
    )


def test_every_file_of_a_mounted_folder_is_rendered(
    renderer: Callable[..., Renderer], tmp_path: Path
) -> None:
    """Addresses first, then the callback; what is no text is copied as it is."""
    seen: list[tuple[str, str]] = []

    def render(component: str, path: str, text: str) -> str:
        seen.append((component, path))
        return text.replace("5m", "30s").replace("127.0.0.1:20001", "seen")

    made = renderer(render)
    app = made.topology.component("app")
    made.write_files(app, {"/etc/app/new.yml": "cache: redis:6379 5m"})
    copies = tmp_path / "stack/files/app/etc/app"
    assert (copies / "app.yml").read_text() == "cache: seen\nlisten: 127.0.0.1:20003\n"
    assert (copies / "rules/a.yml").read_text() == "every: 30s\n"
    assert (copies / "logo.png").read_bytes() == b"\x89PNG\xff"
    assert (copies / "new.yml").read_text() == "cache: 127.0.0.1:20000 5m"
    assert sorted(seen) == [("app", "/etc/app/app.yml"), ("app", "/etc/app/rules/a.yml")]


@pytest.mark.parametrize("path", ["/etc/other", "/etc/app/../passwd", "/etc/application"])
def test_only_mounted_files_can_be_overridden(renderer: Callable[..., Renderer], path: str) -> None:
    """A path outside the component's mounts is refused."""
    made = renderer()
    with pytest.raises(UsageError, match="unknown mounted file"):
        made.write_files(made.topology.component("app"), {path: ""})
