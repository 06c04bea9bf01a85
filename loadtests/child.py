"""The load of one run: ready, go, the whole schedule, drain, and an account of every arrival.

Locust runs here as a library in a process of its own, for it patches sockets and threads for the whole process.
The run folder is all that this process shares with the engine.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import resource
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gevent
import numpy as np
from gevent.event import Event
from locust.env import Environment

from chaos.errors import HarnessError
from loadtests.intended import intended, read_plan
from loadtests.journeys import journey
from loadtests.ledger import Ledger, close_ledger
from loadtests.open_loop import CLIENT_LIMIT_S, MAX_IN_FLIGHT, Dispatcher, OpenLoopUser
from loadtests.prepare import prepared
from loadtests.studio import keep_renewed

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.model.schedule import Due
    from loadtests.world import World

GO_WITHIN_S = 60.0
LOOK_FOR_GO_S = 0.01
LOOK_FOR_PARENT_S = 0.25
FILES_BESIDE = 256
"""Open files that are no arrivals: libraries, the ledger, pipes."""
OVERTIME_S = 10.0
"""Past the schedule's end and the drain; then something here is broken and the run must not wait for it."""


@dataclass(slots=True)
class Load:
    """What one run's generator has at hand."""

    folder: Path
    host: str
    due: tuple[Due, ...]
    world: World
    ledger: Ledger
    stop: Event
    finished: bool = False
    cpu: float = 0.0

    def drive(self, anchor: float) -> None:
        """Run the schedule from `anchor` on, by a Locust user in a local runner."""
        load, over = self, Event()

        class PlannedUser(OpenLoopUser):
            """The one user of this run."""

            def drive(self) -> None:
                """Send the plan's arrivals and wait for their answers."""
                try:
                    dispatcher = Dispatcher(self.client, load.world, load.ledger, anchor)
                    load.finished = dispatcher.run(load.due, load.stop)
                    dispatcher.drain()
                finally:
                    over.set()

        environment = Environment(user_classes=[PlannedUser], host=self.host)
        runner = environment.create_local_runner()
        # What was loaded so far lives as long as the process: a collector that walks it would delay arrivals.
        gc.collect()
        gc.freeze()
        began_cpu, began = time.process_time(), time.monotonic()
        runner.start(1, spawn_rate=1)
        lead_s = max(anchor - time.monotonic(), 0.0)
        length_s = self.due[-1].due_s if self.due else 0.0
        if not over.wait(lead_s + length_s + CLIENT_LIMIT_S + OVERTIME_S):
            raise HarnessError(
                f"the generator is {OVERTIME_S:g} s over its schedule; see its log in logs/load.log"
            )
        self.cpu = (time.process_time() - began_cpu) / max(time.monotonic() - began, 1e-9)
        runner.quit()

    def report(self) -> dict[str, Any]:
        """Return `generator.json`: how well the generator itself did. Lags are None when nothing was sent."""
        lags_ms = np.array(self.ledger.lags_s) * 1_000
        begun, ended = len(lags_ms), self.ledger.ended
        return {
            "send_lag_p50_ms": round(float(np.percentile(lags_ms, 50)), 3) if begun else None,
            "send_lag_p99_ms": round(float(np.percentile(lags_ms, 99)), 3) if begun else None,
            "intended": len(self.due),
            "begun": begun,
            "ended": ended,
            "censored": begun - ended,
            "dropped": len(self.due) - begun,
            "generator_cpu": round(self.cpu, 4),
            "finished": self.finished,
        }


def run(folder: Path, host: str) -> None:
    """Drive `host` with the plan in `folder`. Raises `ChaosError` when it cannot.

    Ends early on SIGTERM and SIGINT, draining and accounting as at the schedule's end, and at once when the parent
    is gone: then nobody is left to end it, and the ledger already holds all that happened.
    """
    logging.getLogger("locust").setLevel(logging.WARNING)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    gevent.spawn(_die_with, os.getppid())
    _allow_files()
    due = intended(read_plan(folder))
    # An unknown journey is found now, not in the middle of the run.
    kinds = [journey(name) for name in {d.journey for d in due}]
    world = prepared(host, kinds)
    if world.studio is not None:
        gevent.spawn(keep_renewed, world.studio.tokens, gevent.sleep)
    with Ledger.create(folder) as ledger:
        load = Load(folder, host, due, world, ledger, stop)
        _write(folder / "load.ready", {"pid": os.getpid(), "intended": len(due)})
        anchor = _wait_for_go(folder / "load.go", stop)
        if anchor is not None:
            load.drive(anchor)
        _write(folder / "generator.json", load.report())
    close_ledger(folder)


def _wait_for_go(path: Path, stop: Event) -> float | None:
    """Return t = 0 on the monotonic clock; None when asked to stop before."""
    end = time.monotonic() + GO_WITHIN_S
    while time.monotonic() < end:
        if stop.wait(LOOK_FOR_GO_S):
            return None
        with contextlib.suppress(OSError, ValueError, KeyError):
            return float(json.loads(path.read_text())["anchor_monotonic"])
    raise HarnessError(f"{path} did not come within {GO_WITHIN_S:g} s; did the engine die?")


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        gevent.sleep(LOOK_FOR_PARENT_S)
    os._exit(HarnessError.exit_code)


def _allow_files() -> None:
    """Let every arrival in flight have a socket: one that fails for want of a file would blame the system."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_IN_FLIGHT + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise HarnessError(
                f"at most {hard} open files are allowed; the generator needs {wanted} (`ulimit -Hn`)"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _write(path: Path, data: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(data))
    part.replace(path)
