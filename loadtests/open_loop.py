"""An open-loop user for Locust: arrivals follow a schedule, whether or not the server keeps up.

One user dispatches; each arrival is a greenlet. Response times count from the intended arrival, so a stall of the
server is seen by every arrival that it delayed. Locust's own closed-loop users wait for the server and hide that.
"""

from __future__ import annotations

import time
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, task

from loadtests.journeys import JOURNEYS, Answer, Request, World

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaos.model.schedule import Due
    from loadtests.ledger import Ledger

CLIENT_LIMIT_S = 2.0
CONNECT_LIMIT_S = 1.0
POOL_SIZE = 800
RECENT = 4_096
OK_STATUS = range(200, 300)


class LoadState:
    """What the generator knows while it runs; the web UI shows it, `generator.json` keeps it."""

    def __init__(self) -> None:
        """Start with nothing sent."""
        self.lags_ms: list[float] = []
        self.recent: deque[tuple[float, str]] = deque(maxlen=RECENT)
        self.dropped = 0
        self.finished = False


class OpenLoopUser(FastHttpUser):
    """Dispatches a schedule. Subclasses say which, from when, and where the ledger is."""

    abstract = True
    fixed_count = 1
    concurrency = POOL_SIZE
    network_timeout = CLIENT_LIMIT_S
    connection_timeout = CONNECT_LIMIT_S
    world: World = World(())
    ledger: Ledger | None = None
    state = LoadState()

    def schedule(self) -> Iterable[Due]:
        """Return the arrivals in order of their due time."""
        raise NotImplementedError

    def anchor(self) -> float:
        """Return the `time.monotonic()` of t = 0."""
        raise NotImplementedError

    def at_end(self) -> None:
        """Be told that the schedule is done and drained."""

    @task
    def dispatch(self) -> None:
        """Send every arrival at its due time; return when all have ended or their limit is over."""
        anchor = self.anchor()
        pool = Pool(POOL_SIZE)
        for due in self.schedule():
            wait_s = anchor + due.due_s - time.monotonic()
            if wait_s > 0:
                gevent.sleep(wait_s)
            if pool.full():
                # Never begun, so the ledger has no line of it: that is what "dropped" means there.
                self.state.dropped += 1
                continue
            pool.spawn(self._arrive, due, anchor)
        pool.join(timeout=CLIENT_LIMIT_S + CONNECT_LIMIT_S)
        self.state.finished = True
        self.at_end()

    def _arrive(self, due: Due, anchor: float) -> None:
        rng = Random(due.seed)  # noqa: S311 (a repeatable load, no secret)
        request = JOURNEYS[due.journey](rng, self.world)
        trace = f"{rng.getrandbits(128) or 1:032x}"
        sent_s = time.monotonic() - anchor
        self.state.lags_ms.append((sent_s - due.due_s) * 1_000)
        if self.ledger is not None:
            self.ledger.begin(due.n, sent_s, request.route, trace)
        headers = {
            "X-Request-ID": trace,
            "traceparent": f"00-{trace}-{rng.getrandbits(64) or 1:016x}-01",
        }
        with self.client.request(
            request.method,
            request.path,
            name=f"[{due.phase}] {request.route}",
            headers=headers,
            catch_response=True,
            allow_redirects=False,
        ) as response:
            done_s = time.monotonic() - anchor
            kind, why, degraded = classify(request, response, done_s - sent_s)
            response.request_meta["response_time"] = (done_s - due.due_s) * 1_000
            if kind in {"ok", "degraded"}:
                response.success()
            else:
                response.failure(why)
        self.state.recent.append((time.monotonic(), kind))
        if self.ledger is not None:
            self.ledger.end(
                due.n, None if kind == "timeout" else done_s, response.status_code, kind, degraded
            )


def classify(request: Request, response: Any, took_s: float) -> tuple[str, str, str]:  # noqa: ANN401 (untyped library)
    """Return (class, reason, degraded features) of an answer: ok, degraded, error or timeout."""
    status = int(response.status_code or 0)
    if status == 0:
        error = response.error
        late = isinstance(error, TimeoutError) or "timed out" in str(error)
        return ("timeout" if late else "error"), repr(error), ""
    if took_s > CLIENT_LIMIT_S:
        return "timeout", f"answered after {took_s:.1f} s", ""
    if status not in OK_STATUS:
        return "error", f"status {status}", ""
    headers = {str(k).lower(): str(v) for k, v in (response.headers or {}).items()}
    wrong = request.wrong(Answer(status, headers, response.content or b""))
    if wrong:
        return "error", wrong, ""
    degraded = ",".join(
        part.strip() for part in headers.get("x-degraded", "").split(",") if part.strip()
    )
    return ("degraded" if degraded else "ok"), "", degraded
