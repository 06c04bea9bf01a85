"""Hand-written evidence: a small run whose every part a test can change."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pandas as pd

from chaos.model.evidence import (
    ARRIVAL_COLUMNS,
    SAMPLE_COLUMNS,
    AlertEvent,
    Delivery,
    Evidence,
    LogEvent,
)
from chaos.model.invariants import Invariant, Judgement
from chaos.model.reads import SqlRead
from chaos.model.run import InjectionRecord, PhaseWindow, Plan
from chaos.model.scenario import AlertSpec, System
from chaos.model.slo import Slo

FAULT = {"kind": "refuse", "target": "cache"}
ROUTE = "/items"
SYSTEM = System(
    slos=(
        Slo("availability", "availability", objective=0.999),
        Slo("latency", "latency", objective=0.95, threshold_ms=500),
    ),
    alerts=(
        AlertSpec("CacheDown", 300, 60, "ticket", labels=("dependency",)),
        AlertSpec("OtherAlert", 300, 60, "page"),
        AlertSpec("Watchdog", 30, 0, "none", always=True),
    ),
    breakers=("cache",),
    features=("cache",),
    journeys=("read",),
    routes=(ROUTE,),
    reads=(SqlRead(name="items", query="SELECT id FROM items", opening=True),),
    invariants=(
        Invariant("items-kept", "every item is kept", ("items",), lambda _: Judgement(0, "none")),
    ),
)
PHASES = (
    PhaseWindow("warm-up", 0, 2, 1.0),
    PhaseWindow("baseline", 2, 12, 1.0),
    PhaseWindow("fault", 12, 32, 1.0, (FAULT,)),
    PhaseWindow("recovery", 32, 42, 1.0),
)


def arrivals(
    per_s: int = 200,
    *,
    classes: dict[str, str] | None = None,
    latency_ms: dict[str, float] | None = None,
) -> pd.DataFrame:
    """Return evenly spaced arrivals over all phases; `classes` and `latency_ms` are by phase."""
    rows = []
    n = 0
    for phase in PHASES:
        step = 1 / per_s
        count = round((phase.end_s - phase.start_s) * per_s)
        kind = (classes or {"fault": "degraded"}).get(phase.name, "ok")
        took = (latency_ms or {}).get(phase.name, 5.0) / 1_000
        for i in range(count):
            due = phase.start_s + (i + 0.5) * step
            answered = kind not in {"timeout", "censored", "dropped"}
            rows.append(
                {
                    "n": n,
                    "journey": "read",
                    "route": ROUTE,
                    "due_s": due,
                    "sent_s": due,
                    "done_s": due + took if answered else float("nan"),
                    "status": 200 if kind in {"ok", "degraded"} else 503,
                    "class": kind,
                    "degraded": "cache" if kind == "degraded" else "",
                    "correlation_id": f"c{n}",
                    "phase": phase.name,
                }
            )
            n += 1
    return pd.DataFrame(rows, columns=list(ARRIVAL_COLUMNS))


def evidence(**changes: Any) -> Evidence:
    """Return the evidence of a run in which everything went as promised, with `changes` on top."""
    rows = changes.pop("arrivals", None)
    rows = arrivals() if rows is None else rows
    intended = changes.pop("intended", len(rows))
    down = {"dependency": "cache"}
    whole = Evidence(
        plan=_plan(intended),
        arrivals=rows,
        samples=pd.DataFrame(columns=list(SAMPLE_COLUMNS)),
        alert_events=(
            AlertEvent(0.5, "prometheus", "Watchdog", {}, "firing"),
            AlertEvent(18.0, "prometheus", "CacheDown", down, "firing"),
            AlertEvent(34.0, "prometheus", "CacheDown", down, "resolved"),
        ),
        deliveries=(
            Delivery(18.6, "firing", "CacheDown", down, "f1"),
            Delivery(37.0, "resolved", "CacheDown", down, "f1"),
        ),
        injections=(
            InjectionRecord(
                "i1", FAULT, "cache", "fault", 12.0, 12.05, 32.1, {"touched": True, "resets": 4}
            ),
        ),
        log_events=(
            LogEvent(12.3, "app", "breaker_opened", {"breaker": "cache"}),
            LogEvent(32.9, "app", "breaker_closed", {"breaker": "cache"}),
        ),
        invariants={"residue_start": [], "residue_end": []},
        monitoring=_monitoring(rows),
        generator=GENERATOR,
    )
    return replace(whole, **changes)


GENERATOR = {
    "send_lag_p99_ms": 2.0,
    "send_lag_p50_ms": 0.5,
    "generator_cpu": 0.2,
    "finished": True,
}


def _plan(intended: int) -> Plan:
    return Plan(
        scenario="cache-down",
        claim="claim",
        seed=1,
        time_scale=60,
        runtime="local",
        rate_rps=200,
        arrivals="uniform",
        journeys=(("read", 1.0),),
        phases=PHASES,
        intended=intended,
        topology_digest="d",
        anchor_wall=1_000_000.0,
        anchor_monotonic=10.0,
    )


def _monitoring(rows: pd.DataFrame) -> dict[str, Any]:
    counts = rows["class"].value_counts().to_dict() if len(rows) else {}
    return {
        "alive": True,
        "rules_loaded": [a.name for a in SYSTEM.alerts],
        "iterations_missed": 0,
        "evaluation_failures": 0,
        "watchdog_delivered": True,
        "scrapes_expected": {"api": 160},
        "scrapes_seen": {"api": 160},
        "scrapes_failed": {"api": 0},
        "server_outcomes": {"ok": counts.get("ok", 0), "degraded": counts.get("degraded", 0)},
        "alerts_history": [],
    }


def json_labels(**labels: str) -> str:
    """Return labels as samples hold them."""
    return json.dumps(labels, sort_keys=True)
