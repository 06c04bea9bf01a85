"""How one arrival ended, decided in one place from what the client saw. No I/O, no gevent."""

from __future__ import annotations

from dataclasses import dataclass

OK = "ok"
DEGRADED = "degraded"
ERROR = "error"
TIMEOUT = "timeout"
CENSORED = "censored"
DROPPED = "dropped"
BAD = frozenset((ERROR, TIMEOUT, CENSORED, DROPPED))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `status` 0 when nothing did, `degraded` the X-Degraded header ("" without one).

    `content_range` is the header of that name, "" without one.
    """

    status: int
    body: bytes = b""
    content_type: str = ""
    degraded: str = ""
    content_range: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The class of an arrival that ended, its HTTP status (0 for none), degraded features and, if bad, why."""

    kind: str
    status: int
    degraded: str = ""
    why: str = ""

    @property
    def bad(self) -> bool:
        """Whether this counts against the system."""
        return self.kind in BAD


def timed_out(what: str) -> Outcome:
    """Return the outcome of an arrival whose client limit passed; `what` names the limit."""
    return Outcome(TIMEOUT, 0, why=what)


def failed(why: str) -> Outcome:
    """Return the outcome of an arrival that got no whole HTTP answer."""
    return Outcome(ERROR, 0, why=why)


def judged(answer: Answer, statuses: tuple[int, ...], complaint: str) -> Outcome:
    """Return the outcome of a whole answer. `complaint` is the oracle's word on the body, "" when it is right.

    An unexpected status or a wrong body is an error even when the answer calls itself degraded: a degraded
    answer is a promise kept in a lesser form, not an excuse.
    """
    features = ",".join(sorted({f.strip() for f in answer.degraded.split(",") if f.strip()}))
    if answer.status not in statuses:
        return Outcome(ERROR, answer.status, features, f"status {answer.status}")
    if complaint:
        return Outcome(ERROR, answer.status, features, complaint)
    return Outcome(DEGRADED if features else OK, answer.status, features)
