"""The rendered rules on real servers at S = 60: in time, delivered, resolved, else silent."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from chaos.model.evidence import AlertEvent, read_jsonl
from chaos.runtime.monitoring import AlertSampler, WebhookSink, monitoring_facts, wait_until_full
from tests.compose.test_rules import MEASURED
from tests.monitoring.living import living

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.live

S = 60.0
LUCK_S = (15 + 30) / S
"""A change that misses one scrape and one evaluation."""
POLL_S = 0.3
GROUP_WAIT_S = 30 / S
GROUP_INTERVAL_S = 300 / S


async def until(condition: Callable[[], bool], within_s: float) -> float:
    """Wait until `condition` holds and return how long that took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < within_s, f"nothing within {within_s:g} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


async def test_an_outage_pages_is_delivered_and_resolves(tmp_path: Path) -> None:
    """From a cold start: gate, silence, page, delivery, resolution, and a third witness."""
    files = tmp_path / "monitoring"
    files.mkdir()
    async with living(files, S) as parts:
        waited_s = await wait_until_full(parts.prometheus, S, within_s=5)
        anchor_monotonic, anchor_wall = time.monotonic(), time.time()

        def now_s() -> float:
            return time.monotonic() - anchor_monotonic

        parts.sink.record(tmp_path, now_s)
        path = tmp_path / "alerts.jsonl"
        async with AlertSampler(parts.prometheus, parts.alertmanager, path, now_s) as sampler:

            def fired(name: str, **labels: str) -> Callable[[], bool]:
                return lambda: any(
                    e.name == name and labels.items() <= e.labels.items() for e in sampler.firing()
                )

            await asyncio.sleep(2)
            assert {e.name for e in sampler.firing()} == {"Watchdog"}

            parts.world.set_error(1.0)
            parts.world.cut.add("redis-cache")
            fast_s = await until(fired("ErrorBudgetBurnPage", window="fast"), 5)
            await until(_delivered(parts.sink, "ErrorBudgetBurnPage", "firing"), GROUP_WAIT_S + 2)
            slow_s = fast_s + await until(fired("ErrorBudgetBurnPage", window="slow"), 5)
            await until(fired("CacheDown", dependency="redis-cache"), 10)
            # Alertmanager forgets an alert that resolves before its group's first notification.
            await until(_delivered(parts.sink, "CacheDown", "firing"), GROUP_WAIT_S + 2)
            states = {a.name: a.state for a in await parts.alertmanager.alerts()}
            assert states["CacheDown"] == "active"
            assert states["DependencyDown"] == "suppressed", "the cause mutes the symptom"

            parts.world.set_error(0.0)
            parts.world.cut.clear()
            cache_s = await until(lambda: not fired("CacheDown")(), 5)
            healed_s = cache_s + await until(
                lambda: not fired("ErrorBudgetBurnPage", window="fast")(), 10
            )
            assert fired("ErrorBudgetBurnPage", window="slow")(), "half an hour, not five minutes"
            await until(_delivered(parts.sink, "CacheDown", "resolved"), 2 * GROUP_INTERVAL_S)
            facts = await monitoring_facts(
                parts.prometheus, anchor_wall=anchor_wall, start_s=0, end_s=now_s(), time_scale=S
            )

    assert waited_s <= 3  # 0.6 s on an idle machine
    assert _in_time("ErrorBudgetBurnPage/fast", fast_s, resolved=healed_s)
    assert _in_time("ErrorBudgetBurnPage/slow", slow_s)
    assert _in_time(
        "CacheDown/redis-cache", MEASURED["CacheDown/redis-cache"][0] / S, resolved=cache_s
    )
    _check_facts(facts)
    _check_files(tmp_path, facts)


async def test_a_dead_prometheus_is_seen_and_never_taken_for_silence(tmp_path: Path) -> None:
    """After a kill polls are errors, nothing is called resolved, and the facts say it is dead."""
    files = tmp_path / "monitoring"
    files.mkdir()
    async with living(files, S) as parts:
        await wait_until_full(parts.prometheus, S, within_s=5)
        path = tmp_path / "alerts.jsonl"
        async with AlertSampler(parts.prometheus, parts.alertmanager, path, lambda: 0.0) as sampler:
            await until(lambda: bool(sampler.firing()), 3)
            parts.prometheus_process.kill()
            await until(lambda: sampler.poll_errors["prometheus"] > 2, 5)

            assert [e.name for e in sampler.firing()] == ["Watchdog"]
        facts = await monitoring_facts(
            parts.prometheus, anchor_wall=time.time() - 1, start_s=0, end_s=1, time_scale=S
        )

    events = [AlertEvent(**line) for line in read_jsonl(path)]
    assert not [e for e in events if e.source == "prometheus" and e.state == "resolved"]
    assert sampler.facts()["longest_gap_s"]["prometheus"] > 0.5
    assert facts["alive"] is False
    assert "Prometheus at" in facts["problem"]


def _delivered(sink: WebhookSink, name: str, status: str) -> Callable[[], bool]:
    return lambda: any(d.name == name and d.status == status for d in sink.deliveries)


def _in_time(alert: str, detected_s: float, *, resolved: float | None = None) -> bool:
    """Compare with what promtool measured, give or take a scrape, an evaluation, a poll."""
    detect, resolve = MEASURED[alert]
    good = abs(detected_s - detect / S) <= LUCK_S + POLL_S
    return good and (resolved is None or abs(resolved - resolve / S) <= LUCK_S + POLL_S)


def _check_facts(facts: dict[str, object]) -> None:
    expected = facts["scrapes_expected"]
    assert facts["alive"] is True
    assert facts["short_window_full"] is True
    assert facts["scrapes_failed"] == {"api": 0, "exporter": 0}
    assert facts["iterations_missed"] == facts["evaluation_failures"] == 0
    assert facts["notifications_failed"] == facts["notifications_dropped"] == 0
    assert facts["rules_unhealthy"] == []
    assert isinstance(expected, dict)
    for job, seen in facts["scrapes_seen"].items():  # type: ignore[attr-defined]  # a dict, see its docstring
        assert abs(seen - expected[job]) <= 2, facts


def _check_files(folder: Path, facts: dict[str, object]) -> None:
    events = [AlertEvent(**line) for line in read_jsonl(folder / "alerts.jsonl")]
    fired = {e.name for e in events if e.source == "prometheus" and e.state == "firing"}
    assert fired == {
        "Watchdog",
        "ErrorBudgetBurnPage",
        "HighErrorRate",
        "CacheDown",
        "DependencyDown",
    }
    assert {e.name for e in events if e.source == "alertmanager" and e.state == "firing"} == fired
    assert {a["name"] for a in facts["alerts_history"]} == fired  # type: ignore[attr-defined]  # a list
    delivered = {d["name"] for d in read_jsonl(folder / "webhook.jsonl") if d["status"] == "firing"}
    assert {"Watchdog", "ErrorBudgetBurnPage", "CacheDown"} <= delivered
    assert len(read_jsonl(folder / "webhook-raw.jsonl")) > 0
