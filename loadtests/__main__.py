"""`python -m loadtests --run-folder DIR --host URL`: the load of one run, in a process of its own.

Announces itself by `load.ready`, starts by `load.go`, ends by itself or by SIGTERM, and leaves `arrivals.jsonl`,
`arrivals.parquet` and `generator.json`. It ends too when its parent dies.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from locust.env import Environment

from chaos.model.run import Plan
from loadtests.ledger import LEDGER, Ledger, close, intended
from loadtests.open_loop import LoadState, OpenLoopUser
from loadtests.world import NoWorldError, discover

if TYPE_CHECKING:
    from chaos.model.schedule import Due

GO_WITHIN_S = 120.0
FLUSH_EVERY_S = 0.1
OVERTIME_S = 15.0


def main(arguments: list[str]) -> int:
    """Drive the plan of a run folder; 0 when the ledger is whole, 2 when there was nothing to drive."""
    parser = argparse.ArgumentParser(prog="python -m loadtests")
    parser.add_argument("--run-folder", type=Path, required=True)
    parser.add_argument("--host", required=True)
    options = parser.parse_args(arguments)
    folder: Path = options.run_folder
    plan = Plan.from_json(json.loads((folder / "plan.json").read_text()))
    try:
        world = discover(options.host)
    except NoWorldError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return _Generator(folder, plan, options.host).drive(world)


class _Generator:
    """One run's load: from ready to `generator.json`."""

    def __init__(self, folder: Path, plan: Plan, host: str) -> None:
        self.folder, self.plan, self.host = folder, plan, host
        self.due = intended(plan)
        self.state = LoadState()
        self.ledger = Ledger(folder / LEDGER)
        self.over = gevent.event.Event()
        self.parent = os.getppid()

    def drive(self, world: Any) -> int:  # noqa: ANN401 (World, imported by its maker)
        gevent.signal_handler(signal.SIGTERM, self.over.set)
        (self.folder / "load.ready").touch()
        anchor = self._wait_for_go()
        environment = Environment(user_classes=[self._user(anchor, world)], host=self.host)
        runner = environment.create_local_runner()
        gevent.sleep(max(0.0, anchor - time.monotonic() - 0.1))
        cpu, wall = time.process_time(), time.monotonic()
        runner.start(1, spawn_rate=1)
        limit = anchor + sum(p.end_s - p.start_s for p in self.plan.phases) + OVERTIME_S
        while not self.over.wait(FLUSH_EVERY_S):
            self.ledger.flush()
            if os.getppid() != self.parent or time.monotonic() > limit:
                break
        used = (time.process_time() - cpu) / max(1e-9, time.monotonic() - wall)
        runner.quit()
        self.ledger.close()
        self._report(used)
        close(self.folder)
        return 0

    def _user(self, anchor: float, world: Any) -> type[OpenLoopUser]:  # noqa: ANN401
        generator = self

        class Planned(OpenLoopUser):
            """Follows the run's plan."""

            ledger = generator.ledger
            state = generator.state

            def schedule(self) -> tuple[Due, ...]:
                return generator.due

            def anchor(self) -> float:
                return anchor

            def at_end(self) -> None:
                generator.over.set()
                gevent.sleep(OVERTIME_S)  # Locust would call the task again; the runner quits first

        Planned.world = world
        return Planned

    def _wait_for_go(self) -> float:
        go = self.folder / "load.go"
        until = time.monotonic() + GO_WITHIN_S
        while not go.exists():
            if time.monotonic() > until or self.over.is_set() or os.getppid() != self.parent:
                sys.stderr.write("error: no start was given\n")
                sys.exit(2)
            gevent.sleep(0.01)
        return float(json.loads(go.read_text())["anchor_monotonic"])

    def _report(self, cpu: float) -> None:
        lags = sorted(self.state.lags_ms) or [0.0]
        report = {
            "send_lag_p50_ms": statistics.median(lags),
            "send_lag_p99_ms": lags[min(len(lags) - 1, int(0.99 * len(lags)))],
            "send_lag_max_ms": lags[-1],
            "generator_cpu": cpu,
            "intended": len(self.due),
            "begun": self.ledger.begun,
            "ended": self.ledger.ended,
            "dropped": self.state.dropped,
            "censored": self.ledger.begun - self.ledger.ended,
            "finished": self.state.finished,
        }
        part = self.folder / ".generator.json.part"
        part.write_text(json.dumps(report, indent=1) + "\n")
        part.replace(self.folder / "generator.json")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
