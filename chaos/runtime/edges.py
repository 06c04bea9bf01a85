"""The route file of one Toxiproxy, checked against the service that runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from chaos.errors import UsageError, unknown
from chaos.model.topology import Dependency
from chaos.runtime.addresses import ANY_ADDRESS
from chaos.runtime.compose_schema import Route, read_as

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from chaos.model.topology import Component

PREFIX: Final = "edge-"
ROUTES_PATH: Final = "/etc/toxiproxy/routes.json"
API_PORT: Final = 8474


def is_edge(component: str) -> bool:
    """Whether a service of that name carries a dependency."""
    return component.startswith(PREFIX)


def read_edge(
    part: Component, folder: Path, ports: Mapping[str, tuple[int, ...]]
) -> tuple[Dependency, str]:
    """Return the dependency that `part` carries, and the text of its route file.

    `folder` is the Compose file's, `ports` are the container ports of every component. Raises `UsageError`
    when the route file and the service disagree.
    """
    name = part.name.removeprefix(PREFIX)
    source = dict(part.files).get(ROUTES_PATH)
    if source is None:
        raise UsageError(
            f"services.{part.name}: no route file; mount './edges/{name}.json:{ROUTES_PATH}:ro'"
        )
    if API_PORT not in part.ports:
        raise UsageError(
            f"services.{part.name}: no port {API_PORT} for the control API; add it to expose"
        )
    text = (folder / source).read_text(encoding="utf-8")
    route = _only_route(text, source)
    if route.name != name:
        raise UsageError(
            f"{source}: route {route.name!r}; expected {name!r}, as the service {part.name!r} says"
        )
    if not route.enabled:
        raise UsageError(
            f"{source}: route {name!r} is disabled; a stack starts whole, expected true"
        )
    listen_host, listen_port = _address(route.listen, source)
    if listen_host != ANY_ADDRESS or listen_port not in part.ports:
        known = " or ".join(f"{ANY_ADDRESS}:{port}" for port in part.ports if port != API_PORT)
        raise UsageError(
            f"{source}: listen {route.listen!r}; expected {known}, as {part.name!r} has it"
        )
    upstream, upstream_port = _address(route.upstream, source)
    if upstream not in ports:
        raise unknown("upstream", upstream, ports, where=f" in {source}")
    if upstream_port not in ports[upstream]:
        known = ", ".join(map(str, ports[upstream])) or "none"
        raise UsageError(f"{source}: {upstream!r} has no port {upstream_port}; known: {known}")
    edge = Dependency(
        name=name,
        component=part.name,
        proxy=route.name,
        listen_port=listen_port,
        upstream=upstream,
        upstream_port=upstream_port,
        api_port=API_PORT,
    )
    return edge, text


def _only_route(text: str, source: str) -> Route:
    try:
        routes = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{source}: line {error.lineno}: {error.msg}; expected JSON") from None
    if not isinstance(routes, list) or len(routes) != 1:
        raise UsageError(
            f"{source}: expected a list of exactly one route, so that an edge can fail alone"
        )
    return read_as(Route, routes[0], where=source)


def _address(text: str, source: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"{source}: {text!r} is no address; expected 'name:port'")
    return host, int(port)
