"""A real Toxiproxy in front of a server of a test's own."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from chaos.setup.locate import tool
from chaos.toxiproxy.client import Toxiproxy
from tests.app.servers import Server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from chaos.toxiproxy.toxics import Toxic

NAME = "edge"
CONTROL_WITHIN_S = 2.0


class Edge:
    """The way to a server; `address` is what a client gets."""

    def __init__(self, address: str, proxy: Server) -> None:
        self.address = address
        self._proxy = proxy
        self._control = Toxiproxy("127.0.0.1", proxy.port, CONTROL_WITHIN_S)

    def inject(self, toxic: Toxic) -> None:
        """Put a toxic into force."""
        self._control.add_toxic(NAME, toxic)

    def refuse(self) -> None:
        """Close what is open and refuse what comes."""
        self._control.set_enabled(NAME, enabled=False)

    def heal(self) -> None:
        """Let everything through: a new proxy, since taking a toxic back can hang."""
        self._proxy.kill()
        self._proxy.start()


@contextmanager
def edge_to(server: Server, folder: Path) -> Iterator[Edge]:
    """Run a Toxiproxy with one route, to `server`."""
    port, control = free_port(), free_port()
    routes = folder / "routes.json"
    route = {"name": NAME, "listen": f"127.0.0.1:{port}", "upstream": server.address}
    routes.write_text(json.dumps([{**route, "enabled": True}]))
    command = (
        *(tool("toxiproxy-server"), "-host", "127.0.0.1", "-port", str(control)),
        *("-config", routes),
    )
    proxy = Server(command, control)
    proxy.start()
    try:
        yield Edge(route["listen"], proxy)
    finally:
        proxy.kill()
