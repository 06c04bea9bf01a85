"""What a person sees of a run in the terminal: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from chaos.model.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.engine.observer import Tick
    from chaos.model.run import RunResult
    from chaos.model.scenario import Scenario

COLOURS = {Verdict.PASS: "32", Verdict.FAIL: "31", Verdict.INCONCLUSIVE: "33", Verdict.ERROR: "35"}
MARKS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.INCONCLUSIVE: "?", Verdict.ERROR: "!"}
PLAIN_EVERY_S = 5.0


@dataclass(slots=True)
class Console:
    """Shows a suite. With `as_json` only one JSON line a verdict goes to standard output."""

    out: TextIO = sys.stdout
    colour: bool = True
    as_json: bool = False
    _live: bool = False
    _phase: str = ""
    _shown_s: float = -PLAIN_EVERY_S

    def scenario(self, scenario: Scenario) -> None:
        """Show that a scenario begins."""
        self._shown_s = -PLAIN_EVERY_S
        self._line(self._paint("1", f"\n{scenario.name}") + f"  {scenario.claim}")

    def phase(self, name: str) -> None:
        """Show that a phase begins."""
        self._phase = name
        self._line(f"  {self._paint('36', name)}")

    def note(self, text: str) -> None:
        """Show one line about what happens now."""
        self._line(f"  {self._paint('2', text)}")

    def problem(self, text: str) -> None:
        """Show what the harness could not do."""
        self._line(self._paint("35", f"error: {text}"))

    def tick(self, tick: Tick) -> None:
        """Show progress: rewritten in place on a terminal, every few seconds elsewhere."""
        bad = 100 * tick.bad / tick.arrivals if tick.arrivals else 0.0
        degraded = 100 * tick.degraded / tick.arrivals if tick.arrivals else 0.0
        parts = [
            f"{self._phase:<9} {max(0, tick.left_s):3.0f} s left",
            f"{tick.arrivals:6d} answered, {bad:.2f} % bad, {degraded:.1f} % degraded",
        ]
        if tick.faults:
            parts.append("fault " + ", ".join(tick.faults))
        if tick.alerts:
            parts.append("alerts " + ", ".join(tick.alerts))
        text = "  " + " · ".join(parts)
        if self.as_json:
            return
        if self.out.isatty():
            self.out.write(f"\r\x1b[2K{text}")
            self.out.flush()
            self._live = True
        elif tick.t_s - self._shown_s >= PLAIN_EVERY_S:
            self._shown_s = tick.t_s
            self._line(text)

    def verdict(self, result: RunResult, folder: Path) -> None:
        """Show the verdict, each finding that is not PASS, and where the report is."""
        if self.as_json:
            data = {**result.to_json(), "folder": str(folder)}
            self.out.write(json.dumps(data, default=str) + "\n")
            self.out.flush()
            return
        passed = sum(f.verdict is Verdict.PASS for f in result.findings)
        head = self._paint(
            f"1;{COLOURS[result.verdict]}", f"{result.verdict.value} {result.scenario}"
        )
        self._line(
            f"{head}  {passed} of {len(result.findings)} findings hold, {result.timings.get('total_s', 0):.1f} s"
        )
        for finding in result.findings:
            mark = self._paint(COLOURS[finding.verdict], MARKS[finding.verdict])
            self._line(
                f"  {mark} {finding.kind:<11} {finding.name} [{finding.phase}]: {finding.sentence}"
            )
        self._line(f"  report: {folder / 'report.html'}")

    def _line(self, text: str) -> None:
        if self.as_json:
            return
        if self._live:
            self.out.write("\r\x1b[2K")
            self._live = False
        self.out.write(text + "\n")
        self.out.flush()

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and self.out.isatty() else text
