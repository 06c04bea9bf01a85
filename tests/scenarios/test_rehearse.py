"""Every scenario rehearses, and what cannot be is refused in one line before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chaos.engine.catalogue import adjusted, gate_names, load_scenario, load_system, names
from chaos.engine.rehearse import rehearse
from chaos.engine.session import read_topology
from chaos.engine.timeline import timeline
from chaos.errors import UsageError
from chaos.model import expectations as ex
from chaos.model.faults import Refuse
from chaos.model.scenario import Phase

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = load_system(ROOT)
TOPOLOGY = read_topology(ROOT)


@pytest.mark.parametrize("name", names(ROOT))
def test_every_scenario_rehearses_without_a_doubt(name: str) -> None:
    """Names exist, every fault heals, alerts have time, and every SLO can be decided at the default scale."""
    scenario = load_scenario(ROOT, name)
    rehearsal = rehearse(scenario, SYSTEM, TOPOLOGY, 60)

    assert rehearsal.doubts == ()
    injected = [s for s in timeline(scenario) if s.action == "inject"]
    assert all(s.until_s <= scenario.duration_s for s in injected)


def test_the_gate_names_existing_scenarios() -> None:
    """CI cannot gate on a scenario that does not exist."""
    assert set(gate_names(ROOT)) <= set(names(ROOT))


def test_a_timeline_heals_what_it_injects_in_the_order_of_time() -> None:
    """The exact steps of redis-down."""
    steps = timeline(load_scenario(ROOT, "redis-down"))

    assert [(s.t_s, s.action, s.phase) for s in steps] == [
        (0.0, "begin", "warm-up"),
        (3.0, "begin", "baseline"),
        (11.0, "begin", "fault"),
        (11.0, "inject", "fault"),
        (28.0, "heal", "fault"),
        (28.0, "begin", "recovery"),
        (40.0, "end", "recovery"),
    ]


BASE = load_scenario(ROOT, "redis-down")


def with_expectation(expectation: ex.Expectation) -> tuple[ex.Expectation, ...]:
    """Return the scenario's expectations with one more."""
    return (*BASE.expectations, expectation)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"expectations": with_expectation(ex.AlertFires("CacheDwn"))}, "did you mean 'CacheDown'"),
        (
            {"expectations": with_expectation(ex.SloHolds("availabilty"))},
            "did you mean 'availability'",
        ),
        (
            {
                "expectations": with_expectation(
                    ex.AlertFires("CacheDown", (("dependency", "redis"),))
                )
            },
            "redis-",
        ),
        (
            {"expectations": with_expectation(ex.AlertFires("ApiDown", (("dependency", "s3"),)))},
            "label",
        ),
        ({"expectations": with_expectation(ex.OtherAlertsSilent(("Nope",)))}, "unknown alert"),
        ({"expectations": with_expectation(ex.BreakerOpens("redis", "fault", 1))}, "redis-cache"),
        (
            {"expectations": with_expectation(ex.Degrades("cash", "fault", (), 1))},
            "did you mean 'cache'",
        ),
        (
            {"expectations": with_expectation(ex.NeverAnswered(("watch_pag",), (200,)))},
            "did you mean 'watch_page'",
        ),
        (
            {"expectations": with_expectation(ex.AnsweredWith(("vew",), (202,), "fault", 0.9))},
            "did you mean 'view'",
        ),
        (
            {
                "expectations": with_expectation(
                    ex.MetricQuantileAtMost("event_lop_lag_seconds", 0.99, 0.05, "fault")
                )
            },
            "did you mean 'event_loop_lag_seconds'",
        ),
        (
            {"expectations": with_expectation(ex.ProbeAnswers("fault", 100, path="/livz"))},
            "did you mean '/livez'",
        ),
        (
            {"expectations": with_expectation(ex.ProbeAnswers("fault", within_ms=1_000))},
            "less than the 1000 ms",
        ),
        (
            {
                "phases": (
                    *BASE.phases[:2],
                    Phase("fault", 17, (Refuse("redis-cach"),)),
                    BASE.phases[3],
                )
            },
            "redis-cache",
        ),
        (
            {
                "phases": (
                    *BASE.phases[:2],
                    Phase("fault", 3, (Refuse("redis-cache"),)),
                    BASE.phases[3],
                )
            },
            "to fire",
        ),
        ({"phases": (*BASE.phases[:3], Phase("recovery", 1))}, "to resolve"),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest_name(
    change: dict[str, object], words: str
) -> None:
    """Unknown names, labels that an alert lacks, and phases too short for an alert are one clear line."""
    with pytest.raises(UsageError) as caught:
        rehearse(replace(BASE, **change), SYSTEM, TOPOLOGY, 60)  # type: ignore[arg-type]

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_expectation_of_an_unknown_phase_is_refused_when_built() -> None:
    """A scenario value cannot be made with a dangling phase."""
    with pytest.raises(UsageError, match="did you mean 'fault'"):
        replace(BASE, expectations=(ex.SloHolds("availability", phase="falt"),))


def test_doubts_name_what_would_be_inconclusive() -> None:
    """No load, or too little to decide 99.9 %, is said beforehand and still runs."""
    silent = rehearse(adjusted(BASE, rate_rps=0, seed=None), SYSTEM, TOPOLOGY, 60)
    thin = rehearse(adjusted(BASE, rate_rps=10, seed=None), SYSTEM, TOPOLOGY, 60)

    assert "nothing can be proved" in silent.doubts[0]
    assert "availability" in thin.doubts[0]


def test_claims_about_answers_and_probes_that_the_load_cannot_decide_are_doubted() -> None:
    """Journeys that nobody makes, a share of too few, and more probes than the phase has room for."""
    claims = (
        ex.NeverAnswered(("intruder",), (200,)),
        ex.AnsweredWith(("guesser",), (429,), "fault", 0.9),
        ex.AnsweredWith(("view",), (202,), "fault", 0.999),
        ex.AnsweredWith(("view",), (202,), "fault", 0.9),
        ex.ProbeAnswers("fault", within_ms=100, min_probes=171),
        ex.ProbeAnswers("fault", within_ms=100, min_probes=170),
    )
    doubts = rehearse(replace(BASE, expectations=claims), SYSTEM, TOPOLOGY, 60).doubts

    assert [doubt.split(" in ")[0] for doubt in doubts] == ["intruder", "guesser", "view", "/livez"]


def test_alerts_that_cannot_fire_at_a_slow_time_scale_are_refused() -> None:
    """At S = 10 CacheDown needs half a minute and the phase has 17 s."""
    with pytest.raises(UsageError, match="--time-scale"):
        rehearse(BASE, SYSTEM, TOPOLOGY, 10)
