"""/metrics: the OpenMetrics text of a registry, and the thread that serves it.

prometheus-client writes the same text, letter for letter (a test compares them), but escapes every label of every
sample anew at each scrape. That is 8 ms of plain Python for 660 lines, during which requests wait for the interpreter.
Names and labels of a child never change, so here they are written once.
"""

from __future__ import annotations

import sys
import threading
from functools import partial
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, ClassVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from prometheus_client import CollectorRegistry
    from prometheus_client.samples import Exemplar, Sample

number: Callable[[float], str] = floatToGoString

SWITCH_INTERVAL_S = 0.0005
HEADER_TIMEOUT_S = 5.0


class Exposition:
    """Renders one registry; keeps the text of what does not change."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._heads: dict[tuple[str, str], str] = {}
        self._series: dict[tuple[str, ...], str] = {}

    def render(self) -> bytes:
        """Return all families as OpenMetrics 1.0 text. Native histograms have no form there and are left out."""
        out: list[str] = []
        for family in self._registry.collect():
            head = self._heads.get((family.name, family.type))
            if head is None:
                head = self._heads[family.name, family.type] = _head(
                    family.name, family.type, family.documentation, family.unit
                )
            out.append(head)
            for sample in family.samples:
                if sample.native_histogram:
                    continue
                key = (sample.name, *sample.labels.values())
                series = self._series.get(key)
                if series is None:
                    series = self._series[key] = _series(sample)
                out.append(series)
                out.append(number(sample.value))
                if sample.timestamp is not None:
                    out.append(f" {sample.timestamp}")
                if sample.exemplar:
                    out.append(_exemplar(sample.exemplar))
                out.append("\n")
        out.append("# EOF\n")
        return "".join(out).encode()


def _head(name: str, kind: str, documentation: str, unit: str) -> str:
    lines = f"# HELP {name} {_escape(documentation)}\n# TYPE {name} {kind}\n"
    return lines + (f"# UNIT {name} {unit}\n" if unit else "")


def _series(sample: Sample) -> str:
    if not sample.labels:
        return f"{sample.name} "
    return f"{sample.name}{{{_pairs(sample.labels)}}} "


def _pairs(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in sorted(labels.items()))


def _exemplar(exemplar: Exemplar) -> str:
    text = f" # {{{_pairs(exemplar.labels)}}} {number(exemplar.value)}"
    return text if exemplar.timestamp is None else f"{text} {exemplar.timestamp}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout: ClassVar[float | None] = HEADER_TIMEOUT_S

    def log_message(self, format: str, *_args: object) -> None:  # noqa: A002 - the library's own name
        """Say nothing: a scrape is not an event."""


def serve_metrics(
    registry: CollectorRegistry, host: str, port: int
) -> tuple[WSGIServer, threading.Thread]:
    """Serve /metrics from a thread, so that it answers while the event loop is blocked.

    With CPython's usual switch interval of 5 ms a request that meets a scrape would lose up to that at each of its
    waits, so the interval is shortened for the whole process.

    Returns the server (`server_port` is the real port when `port` is 0; `shutdown()` ends it) and its thread.
    OpenMetrics, which carries the exemplars, is given to scrapers that ask for it by `Accept`; others get
    prometheus-client's own text. Raises OSError when it cannot listen.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    app = partial(_answer, Exposition(registry), make_wsgi_app(registry))
    server = make_server(host, port, app, _Server, _Handler)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    return server, thread


def _answer(
    exposition: Exposition, plain: object, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    wants_open = "application/openmetrics-text" in environ.get("HTTP_ACCEPT", "")
    if not wants_open or environ["REQUEST_METHOD"] != "GET" or environ.get("QUERY_STRING"):
        return plain(environ, start_response)  # type: ignore[operator,no-any-return]
    start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
    return [exposition.render()]
