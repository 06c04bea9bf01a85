"""A small, valid Compose file that each test bends in one place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest

from chaos.model.topology import Topology
from chaos.runtime.compose_file import load_topology

if TYPE_CHECKING:
    from pathlib import Path

COMPOSE = """\
name: small
services:
  redis:
    image: valkey/valkey:9.1
    expose: ["6379"]
    volumes: ["redis-data:/data"]
    x-local:
      command: ["{tool:valkey-server}", "--port", "{port:6379}", "--dir", "{data:/data}"]
      ready: { redis: 6379 }
  edge-cache:
    image: toxiproxy
    ports: ["127.0.0.1:6380:6379"]
    expose: ["8474"]
    volumes: ["./edges/cache.json:/etc/toxiproxy/routes.json:ro"]
    x-local:
      command: ["{tool:toxiproxy-server}", "-config={file:/etc/toxiproxy/routes.json}"]
      ready: { tcp: 6379 }
  seed:
    image: app
    environment: { REDIS_URL: "redis://redis:6379/0", TOKEN: "${TOKEN:-dev}" }
    depends_on:
      redis: { condition: service_healthy }
    x-local:
      command: ["{python}", "-m", "app.seed"]
      ready: exit
  app:
    image: app
    environment: { HOST: 0.0.0.0, PORT: 8000, CACHE: "edge-cache:6379", EVERY_S: "5" }
    ports: ["127.0.0.1:8000:8000"]
    volumes: ["./conf:/etc/app:ro"]
    depends_on:
      edge-cache: { condition: service_healthy }
      seed: { condition: service_completed_successfully }
    x-local:
      command: ["{python}", "-m", "app", "--rules", "{file:/etc/app/rules/a.yml}"]
      environment: { HOST: 127.0.0.1, PORT: "{port:8000}" }
      scaled: { EVERY_S: 0.2 }
      ready: { http: 8000, path: /readyz, within_s: 9 }
  dashboards:
    image: grafana
    depends_on: [app]
volumes:
  redis-data:
"""
ROUTE = {"name": "cache", "listen": "0.0.0.0:6379", "upstream": "redis:6379", "enabled": True}

Load = Callable[..., Topology]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return `load(old, new, route=…, environ=…)`: the small file with one text replaced."""

    def bend(
        old: str = "",
        new: str = "",
        *,
        route: Mapping[str, object] | str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Topology:
        assert old in COMPOSE, f"{old!r} is not in the file"
        for folder in ("edges", "conf/rules"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        text = route if isinstance(route, str) else json.dumps([{**ROUTE, **(route or {})}])
        (tmp_path / "edges/cache.json").write_text(text)
        (tmp_path / "conf/app.yml").write_text("cache: edge-cache:6379\nlisten: 0.0.0.0:8000\n")
        (tmp_path / "conf/rules/a.yml").write_text("every: 5m\n")
        (tmp_path / "conf/logo.png").write_bytes(b"\x89PNG\xff")
        (tmp_path / "compose.yaml").write_text(COMPOSE.replace(old, new, 1) if old else COMPOSE)
        return load_topology(tmp_path / "compose.yaml", environ=environ or {})

    return bend
