"""The arrival ledger: one line when an arrival begins and one when it ends, so that nothing is ever uncounted.

What the plan intended and no line begins is *dropped*; what begins and does not end is *censored*. Both are bad.
`python -m loadtests.ledger RUN_FOLDER` closes the ledger of a generator that died.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from chaos.model.evidence import ARRIVAL_COLUMNS
from chaos.model.run import Plan
from chaos.model.scenario import Load, Phase
from chaos.model.schedule import Due, schedule

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

LEDGER = "arrivals.jsonl"
PARQUET = "arrivals.parquet"


class Ledger:
    """Appends begin and end lines to `arrivals.jsonl`; `flush` is called by the generator ten times a second."""

    def __init__(self, path: Path) -> None:
        """Open the ledger for appending."""
        self._out: TextIO = path.open("a")
        self.begun = 0
        self.ended = 0

    def begin(self, n: int, sent_s: float, route: str, correlation_id: str) -> None:
        """Write that arrival `n` is being sent."""
        self.begun += 1
        self._write(
            {"n": n, "sent_s": round(sent_s, 6), "route": route, "correlation_id": correlation_id}
        )

    def end(self, n: int, done_s: float | None, status: int, kind: str, degraded: str) -> None:
        """Write how arrival `n` ended; `done_s` is None when no answer came."""
        self.ended += 1
        done = None if done_s is None else round(done_s, 6)
        self._write({"n": n, "done_s": done, "status": status, "class": kind, "degraded": degraded})

    def flush(self) -> None:
        """Hand the lines to the operating system, where they survive our own death."""
        self._out.flush()

    def close(self) -> None:
        """Flush and close."""
        self._out.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._out.write(json.dumps(line, separators=(",", ":")) + "\n")


def intended(plan: Plan) -> tuple[Due, ...]:
    """Return every arrival that the plan intends: the same schedule that the runner computed."""
    phases = [Phase(p.name, p.end_s - p.start_s, (), p.load_factor) for p in plan.phases]
    arrivals = "poisson" if plan.arrivals == "poisson" else "uniform"
    return schedule(Load(plan.rate_rps, plan.journeys, arrivals), phases, plan.seed)


def to_frame(folder: Path, plan: Plan) -> pd.DataFrame:
    """Return one row for every intended arrival, with the columns ARRIVAL_COLUMNS.

    A line that a crash cut off is left out; of two end lines of one arrival the first counts.
    """
    import pandas as pd  # noqa: PLC0415 (half a second that the generator does not have at its start)

    begun: dict[int, dict[str, Any]] = {}
    ended: dict[int, dict[str, Any]] = {}
    for line in _lines(folder / LEDGER):
        (ended if "class" in line else begun).setdefault(int(line["n"]), line)
    rows = [_row(due, begun.get(due.n), ended.get(due.n)) for due in intended(plan)]
    frame = pd.DataFrame(rows, columns=list(ARRIVAL_COLUMNS))
    numbers = {
        "n": "int64",
        "due_s": "float64",
        "sent_s": "float64",
        "done_s": "float64",
        "status": "int64",
    }
    return frame.astype(numbers)


def close(folder: Path) -> int:
    """Write `arrivals.parquet` from the ledger and return how many rows it has."""
    plan = Plan.from_json(json.loads((folder / "plan.json").read_text()))
    frame = to_frame(folder, plan)
    part = folder / f".{PARQUET}.part"
    frame.to_parquet(part, index=False)
    part.replace(folder / PARQUET)
    return len(frame)


def _row(due: Due, begun: dict[str, Any] | None, ended: dict[str, Any] | None) -> dict[str, Any]:
    kind = "dropped" if begun is None else "censored" if ended is None else ended["class"]
    return {
        "n": due.n,
        "journey": due.journey,
        "route": begun["route"] if begun else "",
        "due_s": due.due_s,
        "sent_s": begun["sent_s"] if begun else None,
        "done_s": ended["done_s"] if begun and ended else None,
        "status": ended["status"] if begun and ended else 0,
        "class": kind,
        "degraded": ended["degraded"] if begun and ended else "",
        "correlation_id": begun["correlation_id"] if begun else "",
        "phase": due.phase,
    }


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    if not path.exists():
        return
    for raw in path.read_bytes().splitlines():
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, dict) and "n" in line:
            yield line


def main(arguments: list[str]) -> int:
    """Close the ledger of the run folder that is named."""
    if len(arguments) != 1:
        sys.stderr.write(
            "error: expected one run folder, as `python -m loadtests.ledger reports/runs/...`\n"
        )
        return 2
    close(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
