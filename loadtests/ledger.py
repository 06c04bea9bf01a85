"""The arrival ledger: one line when an arrival begins, one when it ends, each on its way at once.

Lines are written without a buffer, one `write` each (about 1 us): the kernel has them even when this process is
killed in the next instant, so what was begun is never forgotten. What the schedule intended and the ledger never
began is *dropped*; what began and never ended is *censored*; both count as bad. Beside it stands a line for each
write whose receipt was judged right (`acknowledged.jsonl`): what the system has promised to keep.

`python -m loadtests.ledger DIR` closes the ledger of a run folder: arrivals.jsonl to arrivals.parquet.
"""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from chaos.errors import ChaosError, UsageError
from loadtests.intended import intended, read_plan
from loadtests.journeys import journey
from loadtests.outcome import CENSORED, DROPPED

if TYPE_CHECKING:
    import pandas as pd

    from chaos.model.invariants import Acknowledged
    from chaos.model.run import Plan
    from chaos.model.schedule import Due
    from loadtests.outcome import Outcome

LEDGER = "arrivals.jsonl"
PARQUET = "arrivals.parquet"
RECEIPTS = "acknowledged.jsonl"
COLUMN_TYPES = {
    "n": "int64",
    "journey": "string",
    "route": "string",
    "due_s": "float64",
    "sent_s": "float64",
    "done_s": "float64",
    "status": "int64",
    "class": "string",
    "degraded": "string",
    "correlation_id": "string",
    "phase": "string",
}
"""The columns of `chaos.model.evidence.ARRIVAL_COLUMNS` as Arrow types. Stands here again, because that module
imports pandas, for which the generator's process has no time."""


class Recorder(Protocol):
    """Whoever wants to know of every arrival. Times are seconds from the start of the load."""

    def begin(self, due: Due, sent_s: float, correlation_id: str) -> None:
        """Note that an arrival is about to be sent."""

    def end(self, due: Due, sent_s: float, done_s: float, outcome: Outcome) -> None:
        """Note how an arrival ended."""

    def drop(self, due: Due) -> None:
        """Note that an intended arrival will not be sent."""

    def acknowledge(self, write: Acknowledged) -> None:
        """Note that the system has promised to keep a write."""


@dataclass(slots=True)
class Ledger:
    """Writes the ledger of a run folder and keeps the numbers that tell how good the generator itself was."""

    handle: int
    receipts: int
    lags_s: list[float] = field(default_factory=list)
    ended: int = 0
    dropped: int = 0

    @staticmethod
    def create(folder: Path) -> Ledger:
        """Begin the ledger. Raises `UsageError` when the folder has one: a run is written once."""
        return Ledger(_create(folder / LEDGER), _create(folder / RECEIPTS))

    def begin(self, due: Due, sent_s: float, correlation_id: str) -> None:
        """Write an arrival's first line, before anything is sent."""
        self.lags_s.append(sent_s - due.due_s)
        self._write(
            {
                "n": due.n,
                "event": "begin",
                "journey": due.journey,
                "due_s": due.due_s,
                "sent_s": round(sent_s, 6),
                "correlation_id": correlation_id,
            }
        )

    def end(self, due: Due, sent_s: float, done_s: float, outcome: Outcome) -> None:  # noqa: ARG002
        """Write an arrival's last line."""
        self.ended += 1
        line: dict[str, Any] = {
            "n": due.n,
            "event": "end",
            "done_s": round(done_s, 6),
            "status": outcome.status,
            "class": outcome.kind,
            "degraded": outcome.degraded,
        }
        if outcome.why:
            line["why"] = outcome.why
        self._write(line)

    def drop(self, due: Due) -> None:  # noqa: ARG002
        """Count an arrival that was not begun; the schedule tells which, so it needs no line."""
        self.dropped += 1

    def acknowledge(self, write: Acknowledged) -> None:
        """Write a receipt's line."""
        os.write(self.receipts, _line(asdict(write)))

    def close(self) -> None:
        """Write nothing more."""
        os.close(self.handle)
        os.close(self.receipts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self.handle, _line(line))


def _create(path: Path) -> int:
    """Return a new file to append to. Raises `UsageError` when it is there already."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
    except OSError as error:
        raise UsageError(f"{path}: {error}; expected a new run folder") from error


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def to_columns(folder: Path, plan: Plan) -> dict[str, list[Any]]:
    """Account for every arrival that `plan` intends, from the ledger in `folder`, as columns (COLUMN_TYPES).

    `sent_s` is NaN for a dropped arrival, `done_s` wherever no answer came, `status` then 0. A line that cannot be
    read proves nothing. Of two ends the first counts. Raises `UsageError` for a ledger of another plan.
    """
    begun, ended = _read(folder / LEDGER)
    due = intended(plan)
    strangers = [n for n in {*begun, *ended} if not 0 <= n < len(due)]
    if strangers:
        raise UsageError(
            f"{folder / LEDGER}: arrival {strangers[0]} is not in the plan's 0 to {len(due) - 1}; "
            "expected the ledger of this very plan"
        )
    rows = [_row(d, begun.get(d.n), ended.get(d.n)) for d in due]
    return {name: [row[name] for row in rows] for name in COLUMN_TYPES}


def to_frame(folder: Path, plan: Plan) -> pd.DataFrame:
    """Return `to_columns` as the frame that checks and reports read (`chaos.model.evidence.ARRIVAL_COLUMNS`)."""
    return _table(folder, plan).to_pandas()  # type: ignore[no-any-return]


def close_ledger(folder: Path) -> int:
    """Write arrivals.parquet, whole or not at all, and return how many arrivals it accounts for."""
    import pyarrow.parquet as pq  # noqa: PLC0415 (late: the generator must start fast)

    table = _table(folder, read_plan(folder))
    part = folder / f".{PARQUET}.part"
    pq.write_table(table, part)
    part.replace(folder / PARQUET)
    return int(table.num_rows)


def _table(folder: Path, plan: Plan) -> Any:  # noqa: ANN401 (pyarrow publishes no types)
    import pyarrow as pa  # noqa: PLC0415 (late: the generator must start fast)

    types = {name: pa.type_for_alias(alias) for name, alias in COLUMN_TYPES.items()}
    return pa.table(to_columns(folder, plan), schema=pa.schema(list(types.items())))


def _read(path: Path) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, Any]]]:
    begun: dict[int, dict[str, Any]] = {}
    ended: dict[int, dict[str, Any]] = {}
    for text in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
            event, n = line["event"], int(line["n"])
        except (ValueError, KeyError, TypeError):
            continue  # cut off by a kill or a full disk
        (begun if event == "begin" else ended).setdefault(n, line)
    return begun, ended


def _row(due: Due, begun: dict[str, Any] | None, ended: dict[str, Any] | None) -> dict[str, Any]:
    first, last = begun or {}, ended or {}
    status = int(last.get("status", 0))
    return {
        "n": due.n,
        "journey": due.journey,
        "route": journey(due.journey).route,
        "due_s": due.due_s,
        "sent_s": float(first.get("sent_s", math.nan)),
        "done_s": float(last["done_s"]) if status else math.nan,
        "status": status,
        "class": last.get("class") or (CENSORED if begun else DROPPED),
        "degraded": last.get("degraded", ""),
        "correlation_id": first.get("correlation_id", ""),
        "phase": due.phase,
    }


def main(arguments: list[str]) -> int:
    """Close the ledger of the run folder that is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m loadtests.ledger RUN_FOLDER\n")
        return UsageError.exit_code
    try:
        count = close_ledger(Path(arguments[0]))
    except ChaosError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{count} arrivals accounted for in {arguments[0]}/{PARQUET}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
