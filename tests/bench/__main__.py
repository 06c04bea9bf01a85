"""`python -m tests.bench`: what the instrumentation costs, side by side in one run.

Exit codes: 0 both promises hold, 1 one is broken, 2 it could not be measured, 3 undecided (the interval spans the
limit, or the machine was too busy).
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.bench.figures import (
    EXIT_CODES,
    Comparison,
    Sample,
    compare,
    starved_share,
    worst,
)
from tests.bench.measure import ARGUMENTS, Measurement, Plan, measure
from tests.bench.processes import ROOT, BenchError, marker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OUT = ROOT / "reports" / "bench"
PROMISES = (("bare", 0.9), ("usual", 1.5), ("collected", None), ("sparing", None))


def plans(video: str, rounds: int, seconds: float) -> list[Plan]:
    """Return what is measured: the everyday read at length, and a longer answer."""
    return [
        Plan("GET /api/v1/videos/{id}", f"/api/v1/videos/{video}", rounds, seconds),
        Plan("GET /api/v1/videos/trending", "/api/v1/videos/trending", rounds, seconds * 0.35),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, keep; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds a route (default 9)")
    parser.add_argument(
        "--seconds", type=float, default=1.2, help="a server and round (default 1.2)"
    )
    options = parser.parse_args(arguments)
    # So that an ordinary stop unwinds and ends every process, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    try:
        with scratch() as folder, watched(folder):
            measured = measure(
                lambda video: plans(video, options.rounds, options.seconds), folder, _tell
            )
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    compared = {m.title: [compare(m.rounds, *promise) for promise in PROMISES] for m in measured}
    judgement = worst([c.judgement for each in compared.values() for c in each if c.judgement])
    took_s = round(time.monotonic() - began, 1)
    _tell("")
    sys.stdout.write(table(measured, compared))
    path = keep(measured, compared, took_s)
    sys.stdout.write(f"{judgement} after {took_s} s; {path.relative_to(ROOT)}\n")
    return EXIT_CODES[judgement]


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder for everything; what others make in the temporary folder goes there too."""
    folder = Path(tempfile.mkdtemp(prefix="socialflow-bench-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user below it
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Have a watchdog end all processes and remove the folder should this process be killed."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.watchdog", marker(), str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        start_new_session=True,
    ) as watchdog:
        try:
            yield
        finally:
            assert watchdog.stdin is not None
            watchdog.stdin.close()


def table(measured: list[Measurement], compared: dict[str, list[Comparison]]) -> str:
    """Return the figures for people."""
    lines = []
    for each in measured:
        lines.append(each.title)
        lines.append(f"  {'':14}{'req/s':>8}{'CPU us/req':>12}{'core':>7}")
        for name in ARGUMENTS:
            mid = _middle([getattr(r, name) for r in each.rounds])
            lines.append(
                f"  {name:14}{mid['per_second']:8,.0f}{mid['cpu_us']:12.1f}{mid['cores']:7.2f}"
            )
        lines.append(f"  {'(client alone)':14}{each.client_per_second:8,.0f}")
        lines += [_ratios(c) for c in compared[each.title]]
        starved = starved_share(each.rounds)
        if starved:
            lines.append(
                f"  busy machine: in {starved:.0%} of the samples a server lacked its core"
            )
    return "\n".join(lines) + "\n"


def _ratios(c: Comparison) -> str:
    throughput, cpu = c.throughput, c.cpu
    return (
        f"  / {c.other:9} throughput {throughput.estimate:.3f} [{throughput.low:.3f} .. {throughput.high:.3f}]"
        f"   CPU {cpu.estimate:.3f} [{cpu.low:.3f} .. {cpu.high:.3f}]"
        + (f"   at least {c.at_least}: {c.judgement}" if c.judgement else "")
    )


def _middle(samples: list[Sample]) -> dict[str, float]:
    return {
        name: round(median(getattr(sample, name) for sample in samples), 3)
        for name in ("per_second", "cpu_us", "cores")
    }


def keep(measured: list[Measurement], compared: dict[str, list[Comparison]], took_s: float) -> Path:
    """Write one line of JSON, and return where."""
    now = datetime.now(UTC)
    routes: dict[str, Any] = {
        each.title: {
            **{name: _middle([getattr(r, name) for r in each.rounds]) for name in ARGUMENTS},
            "client_per_second": round(each.client_per_second),
            "starved": starved_share(each.rounds),
            "ratios": [asdict(c) for c in compared[each.title]],
            "rounds": [asdict(r) for r in each.rounds],
        }
        for each in measured
    }
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{now:%Y%m%dT%H%M%SZ}.json"
    line = {
        "at": now.isoformat(timespec="seconds"),
        "took_s": took_s,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "routes": routes,
    }
    path.write_text(f"{json.dumps(line)}\n")
    return path


def _tell(text: str) -> None:
    """Show progress on a terminal, in place."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
