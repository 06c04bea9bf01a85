"""The open-loop user: arrivals leave when they are due, however slow the answers are.

One Locust user is the dispatcher; each arrival is a greenlet of a bounded pool over one shared HTTP client.
Latency is measured from the *intended* arrival, so a stall is seen by all who would have come during it, and not
only by the few who were inside; Locust's own statistics get the same number.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

import gevent
from gevent.pool import Pool
from geventhttpclient.client import HTTPClientPool
from locust import task
from locust.contrib.fasthttp import FastHttpSession, FastHttpUser, LocustBadStatusCode
from locust.exception import StopUser

from loadtests.journeys import journey
from loadtests.outcome import Answer, Outcome, failed, judged, timed_out

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaos.model.schedule import Due
    from loadtests.journeys.journey import Journey, Request
    from loadtests.ledger import Recorder
    from loadtests.world import World

CLIENT_LIMIT_S = 2.0
"""From send to the last byte. A visitor who waited longer has left."""
CONNECT_LIMIT_S = 1.0
MAX_IN_FLIGHT = 2_000
"""Above every rate and limit that a plan allows on one machine; past it arrivals are dropped and counted."""
GRACE_S = 0.25
"""How much longer a drain waits than the client does, so that the client's own limit is what ends an arrival."""
LOOK_UP_S = 0.1
"""How often a waiting dispatcher looks whether it shall stop."""


class PatientPool(HTTPClientPool):
    """A client pool whose clients send a request again at most once, and only when a kept connection was closed.

    geventhttpclient allows itself as many attempts as the pool is large, 2,000 here: against a server that accepts
    and closes, one arrival would become a storm, and an error would be recorded as a timeout.
    """

    def get_client(self, url: Any) -> Any:  # noqa: ANN401 (geventhttpclient's own)
        """Return the client for the server of `url`."""
        client = super().get_client(url)
        client._connection_pool.size = 0  # noqa: SLF001  read only to count attempts: size + 1
        return client


class Gate(Protocol):
    """Tells the dispatcher to begin no more arrivals."""

    def is_set(self) -> bool:
        """Whether it shall stop."""


@dataclass(slots=True)
class Dispatcher:
    """Sends arrivals at their due times. `anchor` is t = 0 on `time.monotonic()`.

    Every arrival carries an `X-Request-ID` and a `traceparent` that name this process and the arrival's number.
    """

    session: FastHttpSession
    world: World
    recorder: Recorder
    anchor: float
    limit_s: float = CLIENT_LIMIT_S
    pool: Pool = field(default_factory=lambda: Pool(MAX_IN_FLIGHT))
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))

    def run(self, schedule: Iterable[Due], stop: Gate) -> bool:
        """Begin every arrival when it is due. Return whether the schedule came to its end before `stop`."""
        for due in schedule:
            if not self._wait(due.due_s, stop):
                return False
            if self.pool.full():
                self.recorder.drop(due)
            else:
                self.pool.spawn(self.arrive, due)
        return True

    def drain(self) -> None:
        """Wait for answers as long as a client would, then give up what is left: it stays censored."""
        if not self.pool.join(timeout=self.limit_s + GRACE_S):
            self.pool.kill(timeout=1.0)

    def now_s(self) -> float:
        """Return the time since t = 0."""
        return time.monotonic() - self.anchor

    def arrive(self, due: Due) -> None:
        """Send one arrival, judge its answer and record both ends."""
        kind = journey(due.journey)
        request = kind.prepare(self.world, Random(due.seed))  # noqa: S311 (no secret)
        trace = f"{self.run_id}{due.n:016x}"
        headers = {
            **dict(request.headers),
            **({"Idempotency-Key": request.key} if request.key else {}),
            "X-Request-ID": trace,
            "traceparent": f"00-{trace}-{due.n + 1:016x}-01",
        }
        sent_s = self.now_s()
        self.recorder.begin(due, sent_s, trace)
        timer = gevent.Timeout.start_new(self.limit_s)
        try:
            response = self.session.request(
                request.method,
                request.path,
                name=kind.route.removeprefix(f"{request.method} "),
                headers=headers,
                json=request.body,
                data=request.content or None,  # type: ignore[arg-type]  # sent as it is
                catch_response=True,
            )
        except gevent.Timeout as expired:
            # Outside of Locust's own handling, which turns it into an answer with an error.
            if expired is not timer:
                raise
            self.recorder.end(due, sent_s, self.now_s(), timed_out("client limit"))
            return
        finally:
            timer.close()
        done_s = self.now_s()
        answer = answer_of(response)
        outcome = judge(kind, request, answer)
        self.recorder.end(due, sent_s, done_s, outcome)
        if not outcome.bad and isinstance(answer, Answer):
            write = kind.promise(request, answer, round(done_s, 6))
            if write is not None:
                self.recorder.acknowledge(write)
            kind.learn(self.world, request, answer)
        with response:
            response.request_meta["response_time"] = (done_s - due.due_s) * 1_000
            response.request_meta["start_time"] = time.time() - (done_s - due.due_s)
            if outcome.bad:
                response.failure(outcome.why)  # type: ignore[no-untyped-call]
            else:
                response.success()  # type: ignore[no-untyped-call]

    def _wait(self, due_s: float, stop: Gate) -> bool:
        """Sleep until `due_s`; return False as soon as it shall stop. Always lets the others run."""
        while not stop.is_set():
            left = due_s - self.now_s()
            gevent.sleep(min(max(left, 0.0), LOOK_UP_S))
            if left <= LOOK_UP_S:
                return True
        return False


def judge(kind: Journey, request: Request, answer: Answer | Outcome) -> Outcome:
    """Return the outcome of an arrival: what cut its answer off, or what the oracle says of the answer."""
    if isinstance(answer, Outcome):
        return answer
    complaint = kind.complain(request, answer) if answer.status in kind.statuses else ""
    return judged(answer, kind.statuses, complaint)


def answer_of(response: Any) -> Answer | Outcome:  # noqa: ANN401 (Locust's own)
    """Return what a Locust response holds: an answer to read, or the outcome of one that was cut off."""
    broken = response.request_meta["exception"]
    # A status that Locust does not like is an answer; all else that it caught cut the answer off.
    if broken is not None and not isinstance(broken, LocustBadStatusCode):
        root = getattr(broken, "original", None) or broken
        if isinstance(root, TimeoutError | gevent.Timeout):
            return timed_out("client limit")
        return failed(type(root).__name__)
    return Answer(
        response.status_code,
        response.content or b"",
        response.headers.get("content-type", ""),
        response.headers.get("x-degraded", ""),
        response.headers.get("content-range", ""),
    )


class OpenLoopUser(FastHttpUser):
    """The Locust user behind a Dispatcher: there is one of it, however many users are asked for."""

    abstract = True
    fixed_count = 1
    concurrency = MAX_IN_FLIGHT
    max_redirects = 0  # an arrival is one request
    network_timeout = CLIENT_LIMIT_S
    connection_timeout = CONNECT_LIMIT_S

    def __init__(self, environment: Any) -> None:  # noqa: ANN401 (Locust's own)
        self.client_pool = PatientPool(
            concurrency=self.concurrency,
            network_timeout=self.network_timeout,
            connection_timeout=self.connection_timeout,
        )
        super().__init__(environment)

    def drive(self) -> None:
        """Run a Dispatcher from its start to the end of its drain."""
        raise NotImplementedError

    @task
    def dispatch(self) -> None:
        """Drive, then leave: this user has one task and does it once."""
        self.drive()
        raise StopUser
