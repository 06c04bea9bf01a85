"""Findings and the verdict they add up to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class Verdict(Enum):
    """The four ends of a run, each with its exit code. No data is never PASS."""

    PASS = "PASS"  # noqa: S105 (a verdict, not a password)
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"

    @property
    def exit_code(self) -> int:
        """The process's exit code for this verdict."""
        return {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "ERROR": 4}[self.value]


@dataclass(frozen=True, slots=True)
class Finding:
    """One expectation judged.

    `kind` is the family (slo, answers, degradation, liveness, alert, recovery, witness, honesty, invariant),
    `phase` the phase or "run". `measured` and `limit` are numbers in `unit`, or None when there was no data.
    `sentence` is for people.
    """

    kind: str
    name: str
    phase: str
    verdict: Verdict
    measured: float | None
    limit: float | None
    unit: str
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of `run.json`'s `findings`."""
        return {**asdict(self), "verdict": self.verdict.value}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Finding:
        """Build a finding from `to_json`'s object."""
        return Finding(**{**data, "verdict": Verdict(data["verdict"])})


def overall(findings: Iterable[Finding]) -> Verdict:
    """Merge findings: ERROR over INCONCLUSIVE when nothing failed; a FAIL with sound evidence stands.

    Honesty and witness findings guard the evidence itself, so when one of those is not PASS the rest proves
    nothing and the run is at best INCONCLUSIVE. No findings at all is INCONCLUSIVE.
    """
    every = list(findings)
    verdicts = {f.verdict for f in every}
    guards = {f.verdict for f in every if f.kind in {"honesty", "witness"}}
    if Verdict.ERROR in verdicts:
        return Verdict.ERROR
    if not every or guards - {Verdict.PASS}:
        return Verdict.INCONCLUSIVE
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else Verdict.PASS
