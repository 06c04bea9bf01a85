"""By promtool: each alert fires in time, stays silent for its near misses, and resolves."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chaos.setup.locate import tool
from scenarios.system import SYSTEM
from tests.compose.promtool import EVALUATION_S, ROOT, SCRAPE_S, Intervals, Stretch, firing

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.model.scenario import AlertSpec

PROMETHEUS = ROOT / "compose" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
ALWAYS = "Watchdog"

LUCK_S = SCRAPE_S + EVALUATION_S
BEFORE_S = 1_200
LONG_S = 6 * 3_600
"""Healthy history for the windows of the burn-rate pages; with less they page too early."""

CUT_CACHE = frozenset({"redis-cache"})
CUT_REDIS = frozenset({"redis-cache", "redis-broker"})
CUT_DATABASE = frozenset({"postgres"})

# What a total failure and its heal take, from the first bad scrape to the evaluation that tells.
# `chaos.model.scenario.AlertSpec` has the same seconds plus a scrape and an evaluation of bad luck.
MEASURED = {
    "ApiDown": (60, 0),
    "CacheDown/redis-cache": (300, 0),
    "DatabaseDown/postgres": (60, 0),
    "DependencyDown/postgres": (60, 0),
    "ErrorBudgetBurnPage/fast": (60, 300),
    "ErrorBudgetBurnPage/slow": (150, 1_800),
    "HighErrorRate": (330, 300),
    "HighResponseTime": (630, 300),
}


def _alerts() -> list[dict[str, Any]]:
    groups = [g for path in RULES for g in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@dataclass(frozen=True, slots=True)
class Case:
    """A world and what must fire in it: {alert: (seconds after the fault's start, after its end)}.

    The end is None where the alert must still fire when the world ends. Whatever is not named must
    be silent.
    """

    claim: str
    stretches: tuple[Stretch, ...]
    fires: dict[str, tuple[int, int | None]]
    fault: int = 1

    @property
    def expected(self) -> Intervals:
        """The intervals in seconds from the world's start."""
        start = sum(s.seconds for s in self.stretches[: self.fault])
        end = start + self.stretches[self.fault].seconds
        return {
            alert: [(start + on, None if off is None else end + off)]
            for alert, (on, off) in sorted(self.fires.items())
        }


def around(fault: Stretch, *, before: int = BEFORE_S, after: int = 900) -> tuple[Stretch, ...]:
    """Put healthy time before and after a fault."""
    return Stretch(before), fault, Stretch(after, restart=fault.app != "up")


FIRES = (
    Case(
        "a total outage pages within a minute, and tells its size after five",
        around(Stretch(600, error=1.0), before=LONG_S, after=2_400),
        {
            "ErrorBudgetBurnPage/fast": (60, 300),
            "ErrorBudgetBurnPage/slow": (150, 1_800),
            "HighErrorRate": (330, 300),
        },
    ),
    Case(
        "10 % errors page after nine minutes, when 1.44 % of the hour's requests have failed",
        around(Stretch(3_000, error=0.1), before=LONG_S),
        {
            "ErrorBudgetBurnPage/fast": (540, 270),
            "ErrorBudgetBurnPage/slow": (1_320, None),
            "HighErrorRate": (450, 150),
        },
    ),
    Case(
        "4.9 % errors stay under the 5 % level for two hours, and the budget pages all the same",
        around(Stretch(7_200, error=0.049), before=LONG_S),
        {"ErrorBudgetBurnPage/fast": (1_080, 210), "ErrorBudgetBurnPage/slow": (2_670, None)},
    ),
    Case(
        "a dead app is ApiDown and nothing else: it says nothing about its dependencies",
        around(Stretch(600, app="down")),
        {"ApiDown": (60, 0)},
    ),
    Case(
        "an app whose target vanished is ApiDown, although no series says 0",
        around(Stretch(600, app="gone")),
        {"ApiDown": (60, 0)},
    ),
    Case(
        "a dead Redis server is seen from both sides",
        around(Stretch(600, redis_up=False, cut=CUT_REDIS, degraded=0.6)),
        {
            "CacheDown/redis-cache": (300, 0),
            "DependencyDown/redis-broker": (60, 0),
            "DependencyDown/redis-cache": (60, 0),
        },
    ),
    Case(
        "a cut edge to a living Redis is seen from the app's side",
        around(Stretch(600, cut=CUT_CACHE, degraded=0.6)),
        {"CacheDown/redis-cache": (300, 0), "DependencyDown/redis-cache": (60, 0)},
    ),
    Case(
        "a dead Redis is CacheDown also while the app is dead too",
        around(Stretch(600, app="down", redis_up=False)),
        {"ApiDown": (60, 0), "CacheDown/redis-cache": (300, 0)},
    ),
    Case(
        "a dead database is DatabaseDown, and its errors page",
        around(Stretch(600, pg_up=False, cut=CUT_DATABASE, error=1.0), before=LONG_S, after=2_400),
        {
            "DatabaseDown/postgres": (60, 0),
            "DependencyDown/postgres": (60, 0),
            "ErrorBudgetBurnPage/fast": (60, 300),
            "ErrorBudgetBurnPage/slow": (150, 1_800),
            "HighErrorRate": (330, 300),
        },
    ),
    Case(
        "a cut edge to a living database is DatabaseDown",
        around(Stretch(600, cut=CUT_DATABASE)),
        {"DatabaseDown/postgres": (60, 0), "DependencyDown/postgres": (60, 0)},
    ),
    Case(
        "a database that only the exporter misses is DatabaseDown",
        around(Stretch(600, pg_up=False)),
        {"DatabaseDown/postgres": (60, 0)},
    ),
    Case(
        "without the exporter nobody watches the servers, and that is told",
        around(Stretch(600, exporter="down")),
        {"CacheDown/redis-cache": (300, 0), "DatabaseDown/postgres": (60, 0)},
    ),
    Case(
        "a store that cannot be reached is DependencyDown under its own name",
        around(Stretch(600, cut=frozenset({"s3"}))),
        {"DependencyDown/s3": (60, 0)},
    ),
    Case(
        "a store that cannot be reached is told also when nobody asks for it",
        (Stretch(BEFORE_S, rps=0), Stretch(600, rps=0, cut=frozenset({"s3"})), Stretch(900, rps=0)),
        {"DependencyDown/s3": (60, 0)},
    ),
    Case(
        "answers that are all slow are HighResponseTime after ten minutes",
        around(Stretch(1_200, slow=1.0)),
        {"HighResponseTime": (630, 300)},
    ),
    Case(
        "6 % slow answers are HighResponseTime, four minutes later than all of them",
        around(Stretch(1_500, slow=0.06)),
        {"HighResponseTime": (840, 60)},
    ),
)

SILENT = (
    Case("a healthy hour is silent", (Stretch(600), Stretch(3_000)), {}),
    Case("answers that are all degraded count as up", around(Stretch(900, degraded=1.0)), {}),
    Case(
        "one error in three requests an hour is no incident",
        (Stretch(BEFORE_S, rps=1 / 600), Stretch(3_600, rps=1 / 1_200, error=0.34)),
        {},
    ),
    Case("no traffic is no error", (Stretch(BEFORE_S, rps=0), Stretch(1_800, rps=0)), {}),
    Case(
        "failing readiness probes are no failing requests",
        (
            Stretch(BEFORE_S, rps=0),
            Stretch(900, rps=0, cut=frozenset({"unmonitored"})),
            Stretch(900, rps=0),
        ),
        {},
    ),
    Case(
        "a counter reset is no burst of errors",
        (Stretch(BEFORE_S, error=0.0005), Stretch(900, error=0.0005, restart=True)),
        {},
    ),
    Case(
        "an app that restarts within a scrape is silent", around(Stretch(SCRAPE_S, app="down")), {}
    ),
    Case(
        "0.5 % errors burn less than six times the budget and page nobody for three hours",
        around(Stretch(3 * 3_600, error=0.005), before=LONG_S),
        {},
    ),
    Case(
        "a database that is away for 45 s pages nobody",
        around(Stretch(45, pg_up=False, cut=CUT_DATABASE)),
        {},
    ),
    Case(
        "a cache that is away for under five minutes is no CacheDown",
        around(Stretch(285, redis_up=False)),
        {},
    ),
    Case("4.5 % slow answers keep the p95", around(Stretch(1_800, slow=0.045)), {}),
    Case("four slow minutes are no HighResponseTime", around(Stretch(240, slow=1.0)), {}),
    Case(
        "slow errors are not slow answers",
        around(Stretch(1_500, error=0.005, slow_errors=True)),
        {},
    ),
)


@pytest.mark.parametrize("case", FIRES + SILENT, ids=lambda c: c.claim)
def test_exactly_the_right_alerts_fire(case: Case, tmp_path: Path) -> None:
    """Every alert is looked at at every evaluation: it fires in its interval and never else."""
    seen = firing(tool("promtool"), RULES, case.stretches, tmp_path)

    assert seen.pop(ALWAYS) == [(0, None)]
    assert seen == case.expected


def test_every_alert_fires_somewhere() -> None:
    """No rule is without a case in which it fires."""
    fired = {alert.split("/")[0] for case in FIRES for alert in case.fires}

    assert fired | {ALWAYS} == {rule["alert"] for rule in _alerts()}


@pytest.mark.parametrize("alert", MEASURED)
def test_measured_times_are_what_the_cases_prove(alert: str) -> None:
    """The table of times that scenarios plan with is what promtool confirms."""
    proved = {case.fires[alert] for case in FIRES if alert in case.fires}

    assert MEASURED[alert] in proved


@pytest.mark.parametrize("spec", SYSTEM.alerts, ids=lambda spec: spec.name)
def test_scenarios_plan_with_the_measured_times(spec: AlertSpec) -> None:
    """An `AlertSpec` gives a rule its measured time and at most one scrape and evaluation more."""
    rules = [rule for rule in _alerts() if rule["alert"] == spec.name]
    times = [times for key, times in MEASURED.items() if key.split("/")[0] == spec.name]
    detect_s, resolve_s = (
        max((t[0] for t in times), default=0),
        max((t[1] for t in times), default=0),
    )

    assert {rule["labels"]["severity"] for rule in rules} == {spec.severity}
    assert spec.always == (spec.name == ALWAYS)
    assert detect_s <= spec.detect_s <= detect_s + LUCK_S
    assert resolve_s <= spec.resolve_s <= resolve_s + LUCK_S


def test_one_scrape_of_bad_luck_costs_one_evaluation(tmp_path: Path) -> None:
    """A fault that misses an evaluation by one scrape is told at most one evaluation later."""
    lucky = firing(tool("promtool"), RULES, around(Stretch(600, app="down")), tmp_path)
    shifted = around(Stretch(600, app="down"), before=BEFORE_S + SCRAPE_S)
    unlucky = firing(tool("promtool"), RULES, shifted, tmp_path)

    assert unlucky["ApiDown"][0][0] - lucky["ApiDown"][0][0] == EVALUATION_S


def test_promtool_accepts_rules_and_configuration() -> None:
    """`promtool check` finds nothing, lint included."""
    for arguments in (["rules", *map(str, RULES)], ["config", str(PROMETHEUS / "prometheus.yml")]):
        done = _run(tool("promtool"), "check", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_amtool_accepts_the_configuration() -> None:
    """`amtool check-config` finds nothing."""
    done = _run(tool("amtool"), "check-config", str(ROOT / "compose/alertmanager/alertmanager.yml"))

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("severity=page", "alertname=DatabaseDown"), "pager"),
        (("severity=ticket", "alertname=CacheDown"), "tickets"),
        (("severity=none", "alertname=Watchdog"), "heartbeat"),
    ],
)
def test_alerts_are_routed_by_severity(labels: tuple[str, ...], receiver: str) -> None:
    """A page reaches the pager, a ticket the tickets, the heartbeat its own receiver."""
    config = str(ROOT / "compose/alertmanager/alertmanager.yml")
    done = _run(tool("amtool"), "config", "routes", "test", f"--config.file={config}", *labels)

    assert done.stdout.split() == [receiver], done.stdout + done.stderr


@pytest.mark.parametrize("rule", _alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_tells_what_people_need(rule: dict[str, Any]) -> None:
    """Severity, dependency, summary, description and a runbook that exists stand on every alert."""
    assert rule["labels"]["severity"] in {"page", "ticket", "none"}
    assert "dependency" in rule["labels"] or "by (dependency)" in rule["expr"]
    assert {"summary", "description", "runbook_url"} <= rule["annotations"].keys()
    assert (ROOT / rule["annotations"]["runbook_url"]).is_file()


def test_every_count_of_events_is_marked_for_scaling() -> None:
    """No rule compares `increase(...)` with a number that the time scale would miss."""
    counts = [
        line
        for path in RULES
        for line in path.read_text().splitlines()
        if re.search(r"increase\(.*\)\s*[<>]", line)
    ]

    assert counts
    assert all(line.endswith("# scale: divide") for line in counts)


def _run(*command: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
