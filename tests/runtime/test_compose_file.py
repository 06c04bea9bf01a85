"""Reading a Compose file: what comes out, and how everything wrong is said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from chaos.errors import UsageError
from chaos.model.topology import Dependency, Readiness
from chaos.runtime.compose_file import load_topology

if TYPE_CHECKING:
    from tests.runtime.conftest import Load

ROOT = Path(__file__).parents[2]
MISTAKES = yaml.safe_load((Path(__file__).parent / "mistakes.yaml").read_text())


def test_services_become_components(load: Load) -> None:
    """Ports, files, volumes, order, environment and readiness come from the ordinary keys and `x-local`."""
    topology = load()
    app = topology.component("app")
    assert app.ports == (8000,)
    assert app.files == (("/etc/app", "./conf"),)
    assert app.after == ("edge-cache", "seed")
    assert app.ready == Readiness(kind="http", port=8000, path="/readyz", within_s=9.0)
    assert dict(app.environment)["PORT"] == "{port:8000}"
    assert app.scaled == (("EVERY_S", 0.2),)
    assert topology.component("redis").data == ("/data",)
    assert topology.component("seed").one_shot
    assert topology.start_order() == (("redis", "edge-cache"), ("seed",), ("app",))


def test_edges_become_dependencies(load: Load) -> None:
    """A service called edge-<dependency> and its route file make one dependency."""
    assert load().dependencies == (
        Dependency("cache", "edge-cache", "cache", 6379, "redis", 6379, 8474),
    )


def test_services_without_x_local_belong_to_compose_alone(load: Load) -> None:
    """Dashboards and the like are no components."""
    assert "dashboards" not in {part.name for part in load().components}


def test_variables_take_the_environment_or_their_default(load: Load) -> None:
    """`${TOKEN:-dev}` is the exported value, and the default without one."""
    assert ("TOKEN", "dev") in load().component("seed").environment
    assert ("TOKEN", "t") in load(environ={"TOKEN": "t"}).component("seed").environment


def test_the_digest_covers_the_file_and_its_routes(load: Load) -> None:
    """Another route or another word in the file is another topology."""
    digests = {
        load().digest,
        load("image: grafana", "image: grafana:12").digest,
        load(
            route='[{"name":"cache","listen":"0.0.0.0:6379","upstream":"redis:6379", "enabled":true}]'
        ).digest,
    }
    assert len(digests) == 3
    assert load().digest == load().digest


@pytest.mark.parametrize(
    "mistake", MISTAKES["file"], ids=lambda mistake: mistake["by"].strip()[:40]
)
def test_a_mistake_is_one_clear_line(load: Load, mistake: dict[str, str]) -> None:
    """Each mistake is a `UsageError` of one line with the file, the place, the value and what was expected."""
    with pytest.raises(UsageError) as caught:
        load(mistake["replace"], mistake["by"])
    line = str(caught.value)
    assert line.startswith("compose.yaml: ")
    assert mistake["says"] in line
    assert "\n" not in line


@pytest.mark.parametrize("mistake", MISTAKES["routes"], ids=lambda mistake: mistake["says"][:40])
def test_a_route_file_that_disagrees_is_one_clear_line(load: Load, mistake: dict[str, str]) -> None:
    """The route file and the service must say the same."""
    with pytest.raises(UsageError) as caught:
        load(route=mistake["route"])
    assert mistake["says"] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """A missing file and one that is no text are usage errors."""
    with pytest.raises(
        UsageError, match=r"cannot read .*: No such file or directory; expected a Compose"
    ):
        load_topology(tmp_path / "compose.yaml")
    (tmp_path / "compose.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        load_topology(tmp_path / "compose.yaml")
    (tmp_path / "compose.yaml").write_text("- a list")
    with pytest.raises(UsageError, match="list at the top; expected a mapping"):
        load_topology(tmp_path / "compose.yaml")


def test_the_real_file_holds_its_promises() -> None:
    """The system's own file reads, has one edge a dependency, and nobody observes or prepares through an edge."""
    topology = load_topology(ROOT / "compose/compose.yaml", environ={})
    assert {edge.name for edge in topology.dependencies} == {
        "postgres",
        "redis-cache",
        "redis-broker",
        "s3",
        "live-origin",
    }
    assert {edge.upstream for edge in topology.dependencies} == {
        "postgres",
        "redis",
        "s3",
        "live-origin",
    }
    for name in ("exporter", "prometheus", "alertmanager", "migrate", "bucket", "seed"):
        part = topology.component(name)
        used = [
            value
            for key, value in part.environment
            if key not in {"REDIS_URL", "BROKER_URL", "LIVE_ORIGIN_URL"} or name == "exporter"
        ]
        assert not any("edge-" in text for text in (*part.command, *used)), name
