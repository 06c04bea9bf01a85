"""One run: prepare, drive the timeline, heal whatever happens, close the evidence.

The order is the design's: monitoring and generator get ready, the clean start is read, load begins, faults are
journalled, injected, confirmed and healed, the load drains, final reads, and only then is anything judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.engine.clock import RunClock
from chaos.engine.faults import FaultSession
from chaos.engine.final_reads import Reader
from chaos.engine.injectors.registry import injector_for
from chaos.engine.journal import Journal
from chaos.engine.load import LoadChild
from chaos.engine.logs import collect_logs, log_sizes
from chaos.engine.machine import MachineCpu
from chaos.engine.observer import Observer, Tick
from chaos.engine.plan import make_plan
from chaos.engine.probes import Probes, Sample, server_outcomes, write_samples
from chaos.engine.settings import settings_of
from chaos.engine.timeline import Step, timeline
from chaos.engine.watchdog_link import Watchdog
from chaos.errors import ChaosError, HarnessError
from chaos.model.evidence import load_acknowledged
from chaos.model.expectations import InvariantHolds
from chaos.runtime.monitoring import (
    Alertmanager,
    AlertSampler,
    Prometheus,
    WebhookSink,
    monitoring_facts,
    wait_until_full,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chaos.engine.clock import Clock
    from chaos.engine.injectors.base import Injector
    from chaos.engine.run_folder import RunFolder
    from chaos.engine.session import Session
    from chaos.model.faults import Fault
    from chaos.model.reads import FinalRead
    from chaos.model.run import Plan
    from chaos.model.scenario import Scenario, System

LEAD_S = 0.3
"""From the start signal to t = 0: enough for the generator to read it."""
FULL_WITHIN_S = 10.0
DELIVER_WITHIN_S = 3.0
TICK_S = 1.0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run: where the repository is, where results go, S, the command that reproduces."""

    root: Path
    out: Path
    time_scale: float
    command: str = ""


@dataclass(frozen=True, slots=True)
class _Watch:
    """Who watches a run, and what was there when it began."""

    prometheus: Prometheus
    sampler: AlertSampler
    sink: WebhookSink
    probes: Probes
    first: list[Sample]
    offsets: dict[str, int]


@dataclass(slots=True)
class Run:
    """One run in progress. `execute` is the only way in; it always heals and always closes the evidence."""

    scenario: Scenario
    session: Session
    options: RunOptions
    observer: Observer
    folder: RunFolder
    system: System | None = None
    quiet: frozenset[str] = frozenset()
    injectors: Callable[[Fault], Injector] = injector_for
    timings: dict[str, float] = field(default_factory=dict)
    problem: str = ""
    _clock: RunClock = field(init=False)
    _invariants: dict[str, Any] = field(default_factory=dict)

    async def execute(self) -> None:
        """Run the scenario and leave its evidence in the folder.

        A failure of the harness is kept as `problem`; cancellation is healed, recorded and raised again.
        """
        began = time.monotonic()
        self._clock = RunClock(began)
        journal = Journal(self.folder.path / "injections.jsonl", self.now_s)
        faults = FaultSession(self.session.stack, journal, self.now_s, self.injectors)
        self.folder.write_json("plan.json", self._plan(began).to_json())
        try:
            async with contextlib.AsyncExitStack() as exits:
                sink = WebhookSink()
                await exits.enter_async_context(sink)
                sink.record(self.folder.path, self.now_s)
                watchdog = Watchdog(self.options.root, self.folder.path, self.session)
                await exits.enter_async_context(watchdog)
                exits.push_async_callback(faults.heal_all)
                await exits.enter_async_context(settings_of(self.scenario.settings, self.session))
                load = LoadChild(self.options.root, self.folder.path, self._url("app", 8000))
                exits.push_async_callback(load.stop)
                await self._prepare(load, sink, watchdog, faults)
                self.timings["prepare_s"] = time.monotonic() - began
                await self._drive(load, faults, sink)
        except ChaosError as error:
            self.problem = str(error)
        except Exception as error:  # noqa: BLE001 (a person gets one line, the trace goes to a file)
            trace = self.folder.path / "logs" / "runner.log"
            trace.write_text(traceback.format_exc())
            self.problem = f"the runner broke: {type(error).__name__}: {error}; see {trace}"
        finally:
            self._invariants.setdefault("residue_end", None)
            self.folder.write_json("invariants.json", self._invariants)

    def now_s(self) -> float:
        """Return the seconds since t = 0."""
        return self._clock.now_s()

    async def _prepare(
        self, load: LoadChild, sink: WebhookSink, watchdog: Watchdog, faults: FaultSession
    ) -> None:
        self.observer.note("fresh monitoring, generator starts")
        await load.start()
        if load.process is not None:
            watchdog.register_pid(load.process.pid)
        await asyncio.gather(
            self.session.reset_monitoring(sink.address, self.scenario.load.rate_rps), load.ready()
        )
        async with Prometheus(self._url("prometheus", 9090)) as prometheus:
            await wait_until_full(prometheus, self.options.time_scale, within_s=FULL_WITHIN_S)
        residue = await faults.residue()
        self._invariants["residue_start"] = residue
        if residue:
            raise HarnessError(
                f"the stack is not clean before the run: {'; '.join(residue)}; run `chaosbed down`"
            )
        opening = [read for read in self._reads() if read.opening]
        self._invariants["first_reads"] = await Reader(self.session.stack).read_all(opening)

    async def _drive(self, load: LoadChild, faults: FaultSession, sink: WebhookSink) -> None:
        anchor = time.monotonic() + LEAD_S
        self._clock = RunClock(anchor)
        self.folder.write_json("plan.json", self._plan(anchor).to_json())
        probes = Probes(
            self.session.stack,
            self._url("app", 9000) + "/metrics",
            self._url("app", 8000),
            self.now_s,
        )
        first, offsets = await probes.read_metrics(), log_sizes(self.session.stack)
        load.go(anchor)
        alerts = self.folder.path / "alerts.jsonl"
        async with (
            Prometheus(self._url("prometheus", 9090)) as prometheus,
            Alertmanager(self._url("alertmanager", 9093)) as alertmanager,
            AlertSampler(prometheus, alertmanager, alerts, self.now_s) as sampler,
        ):
            cpu = MachineCpu.read(self.session.roots)
            watch = _Watch(prometheus, sampler, sink, probes, first, offsets)
            ticks = asyncio.create_task(self._tick(load, faults, sampler))
            sampling = asyncio.create_task(probes.run())
            try:
                for step in timeline(self.scenario):
                    await self._step(step, self._clock, faults)
            finally:
                healed = await asyncio.shield(asyncio.create_task(self._heal(faults)))
                ticks.cancel()
            self.timings["load_s"] = self.now_s()
            now = MachineCpu.read(self.session.roots)
            if cpu is not None and now is not None:
                self._invariants["machine"] = now.since(cpu)
            await self._close(load, faults, watch)
            sampling.cancel()
            await asyncio.gather(sampling, ticks, return_exceptions=True)
        if healed is not None:
            raise healed

    async def _step(self, step: Step, clock: Clock, faults: FaultSession) -> None:
        await clock.sleep_until(step.t_s)
        if step.action == "begin":
            self.observer.phase(step.phase)
        elif step.action == "inject" and step.fault is not None:
            self.observer.note(f"inject {step.fault.sentence}")
            await faults.apply(step.fault, step.phase, step.until_s)
        elif step.action == "heal":
            self.observer.note(f"heal {step.phase}")
            await faults.heal_all()

    async def _heal(self, faults: FaultSession) -> ChaosError | None:
        try:
            await faults.heal_all()
        except ChaosError as error:
            return error
        return None

    async def _close(self, load: LoadChild, faults: FaultSession, watch: _Watch) -> None:
        """Drain the load, read everything for the last time and write it down."""
        began = time.monotonic()
        self.observer.note("drain, final reads")
        await load.finish()
        facts = await monitoring_facts(
            watch.prometheus,
            anchor_wall=self._wall(0.0),
            start_s=0.0,
            end_s=self.now_s(),
            time_scale=self.options.time_scale,
        )
        facts.update(watch.sampler.facts())
        facts["watchdog_delivered"] = any(d.name == "Watchdog" for d in watch.sink.deliveries)
        with contextlib.suppress(OSError, TimeoutError):
            last = await watch.probes.read_metrics()
            facts["server_outcomes"] = server_outcomes(watch.first, last)
        self.folder.write_json("monitoring.json", facts)
        self._invariants["residue_end"] = await faults.residue()
        await self._read_finally()
        samples = self.folder.path / "samples.parquet"
        await asyncio.to_thread(write_samples, samples, watch.probes.samples)
        await asyncio.to_thread(
            collect_logs, self.session.stack, watch.offsets, self.folder.path, self._wall(0.0)
        )
        self.timings["close_s"] = time.monotonic() - began

    async def _read_finally(self) -> None:
        """Let the system do what it still has to do, within the scenario's limit, and read what came of it."""
        reads = self._reads()
        if not reads or self.system is None:
            return
        self.observer.note(f"waiting until all is settled, {self.scenario.settle_s:g} s at most")
        reader = Reader(self.session.stack)
        conditions = tuple(self.system.read(name) for name in self.system.settles)
        settled = await reader.settle(conditions, self.scenario.settle_s)
        self._invariants["settled"] = settled
        self.timings["settle_s"] = settled["after_s"]
        acknowledged = load_acknowledged(self.folder.path)
        self._invariants["reads"] = await reader.read_all(reads, acknowledged)

    def _reads(self) -> tuple[FinalRead, ...]:
        """Return the reads that the scenario's invariants need, each once."""
        if self.system is None:
            return ()
        claims = [e for e in self.scenario.expectations if isinstance(e, InvariantHolds)]
        needed = {name for claim in claims for name in self.system.invariant(claim.name).reads}
        return tuple(read for read in self.system.reads if read.name in needed)

    async def _tick(self, load: LoadChild, faults: FaultSession, sampler: AlertSampler) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            load.follow()
            now = self.now_s()
            self.observer.tick(
                Tick(
                    now,
                    self.scenario.duration_s - now,
                    load.ended,
                    load.bad,
                    load.degraded,
                    faults.in_force(),
                    tuple(sorted({e.name for e in sampler.firing()} - self.quiet)),
                )
            )

    def _plan(self, anchor: float) -> Plan:
        return make_plan(
            self.scenario, self.session, self.options.time_scale, self.options.command, anchor
        )

    def _wall(self, t_s: float) -> float:
        return time.time() + t_s - self.now_s()

    def _url(self, component: str, port: int) -> str:
        host, local = self.session.stack.address(component, port)
        return f"http://{host}:{local}"
