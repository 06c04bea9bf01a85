"""Ask promtool when each alert of the production rules fires in a made-up world."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
SCRAPE_S = 15
EVALUATION_S = 30
LIMIT_S = 60
RPS = 200.0
ROUTE = "/api/v1/videos"
DEPENDENCIES = ("redis-cache", "redis-broker", "postgres", "s3")

Values = list[float | None]
Intervals = dict[str, list[tuple[int, int | None]]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """What the world is like for `seconds`. Shares are of `rps`, for example `error=0.05`.

    `app` and `exporter` are "up", "down" (the scrape fails) or "gone" (the target vanished);
    `restart` lets the app's counters begin again at 0.
    """

    seconds: int
    rps: float = RPS
    error: float = 0.0
    degraded: float = 0.0
    slow: float = 0.0
    slow_errors: bool = False
    redis_up: bool = True
    pg_up: bool = True
    app: str = "up"
    exporter: str = "up"
    restart: bool = False
    cut: frozenset[str] = field(default_factory=frozenset)

    @property
    def scrapes(self) -> int:
        """How many scrapes this stretch holds."""
        return self.seconds // SCRAPE_S

    def share(self, outcome: str) -> float:
        """Return which share of the requests ends as `outcome`."""
        shares = {"degraded": self.degraded, "error": self.error}
        return shares.get(outcome, 1.0 - self.degraded - self.error)

    def fast_share(self, outcome: str) -> float:
        """Return which share of the answers with `outcome` takes at most half a second."""
        if outcome == "error":
            return 0.0 if self.slow_errors else 1.0
        return 1.0 - self.slow


def series_of(stretches: Sequence[Stretch]) -> dict[str, Values]:
    """Return every series of the world; None is a sample that is missing."""
    series: dict[str, Values] = {
        'up{job="api",instance="app"}': _target(stretches, "app"),
        'up{job="exporter",instance="exporter"}': _target(stretches, "exporter"),
        'redis_up{job="exporter"}': _gauge(stretches, "exporter", [s.redis_up for s in stretches]),
        'pg_up{job="exporter"}': _gauge(stretches, "exporter", [s.pg_up for s in stretches]),
        _requests("/livez", "ok"): _counter(stretches, [1.0 for _ in stretches]),
        _requests("/readyz", "error"): _counter(stretches, [float(bool(s.cut)) for s in stretches]),
    }
    for name in DEPENDENCIES:
        reached = [name not in s.cut for s in stretches]
        up = f'app_dependency_up{{job="api",dependency="{name}"}}'
        series[up] = _gauge(stretches, "app", reached)
    for outcome in ("ok", "degraded", "error"):
        rates = [s.rps * s.share(outcome) for s in stretches]
        fast = [s.rps * s.share(outcome) * s.fast_share(outcome) for s in stretches]
        labels = f'job="api",route="{ROUTE}",method="GET",outcome="{outcome}"'
        series[_requests(ROUTE, outcome)] = _counter(stretches, rates)
        series[f"http_request_duration_seconds_count{{{labels}}}"] = _counter(stretches, rates)
        bucket = f'http_request_duration_seconds_bucket{{{labels},le="0.5"}}'
        series[bucket] = _counter(stretches, fast)
    return series


def firing(
    promtool: Path, rules: Sequence[Path], stretches: Sequence[Stretch], folder: Path
) -> Intervals:
    """Return for each alert the (first, end) of every stretch in which it fires, in seconds.

    `end` is the first evaluation at which it no longer fires, None when it fires to the last. Every
    alert is looked at at every evaluation, so an alert that is not in the result was silent all the
    time.
    """
    until = sum(s.seconds for s in stretches)
    times = range(0, until, EVALUATION_S)
    test = {
        "rule_files": [str(p) for p in rules],
        "evaluation_interval": f"{EVALUATION_S}s",
        "tests": [
            {
                "interval": f"{SCRAPE_S}s",
                "input_series": [
                    {"series": name, "values": _written(values)}
                    for name, values in series_of(stretches).items()
                ],
                "promql_expr_test": [
                    {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{t}s", "exp_samples": []}
                    for t in times
                ],
            }
        ],
    }
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [promtool, "test", "rules", path],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return _intervals(done.stdout + done.stderr, until)


def _intervals(output: str, until: int) -> Intervals:
    """Read promtool's complaint: we expect nothing to fire ever, it tells what does, and when."""
    seen: dict[str, list[int]] = {}
    blocks = re.findall(r"time: (\S+),\s+exp: *\S*\s+got: *(.*)", output)
    if not blocks:
        raise AssertionError(f"promtool told nothing, not even the Watchdog:\n{output[-2000:]}")
    for stamp, got in blocks:
        for labels in re.findall(r"\{([^}]*)\}", got):
            pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            seen.setdefault(_key(pairs), []).append(_seconds(stamp))
    found: Intervals = {}
    for key, times in sorted(seen.items()):
        stretches = found.setdefault(key, [])
        for i, t in enumerate(times):
            if i == 0 or t - times[i - 1] > EVALUATION_S:
                stretches.append((t, None))
            last = i + 1 == len(times)
            if (last and t + EVALUATION_S < until) or (
                not last and times[i + 1] - t > EVALUATION_S
            ):
                stretches[-1] = (stretches[-1][0], t + EVALUATION_S)
    return found


def _key(labels: dict[str, str]) -> str:
    detail = labels.get("window") or labels.get("dependency", "none")
    return labels["alertname"] if detail == "none" else f"{labels['alertname']}/{detail}"


def _seconds(text: str) -> int:
    units = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
    return sum(int(n) * units[u] for n, u in re.findall(r"(\d+)([dhms])", text))


def _requests(route: str, outcome: str) -> str:
    status = 503 if outcome == "error" else 200
    labels = f'route="{route}",method="GET",status_code="{status}",outcome="{outcome}"'
    return f'http_requests_total{{job="api",{labels}}}'


def _target(stretches: Sequence[Stretch], who: str) -> Values:
    value: dict[str, float | None] = {"up": 1.0, "down": 0.0, "gone": None}
    return [value[getattr(s, who)] for s in stretches for _ in range(s.scrapes)]


def _gauge(stretches: Sequence[Stretch], who: str, values: Sequence[bool]) -> Values:
    """Return a gauge that `who` tells while it is up, with one value a stretch."""
    return [
        float(value) if getattr(stretch, who) == "up" else None
        for stretch, value in zip(stretches, values, strict=True)
        for _ in range(stretch.scrapes)
    ]


def _counter(stretches: Sequence[Stretch], rates: Sequence[float]) -> Values:
    """Return a counter of the app, with one rate a second for each stretch."""
    total = 0.0
    values: Values = []
    for stretch, rate in zip(stretches, rates, strict=True):
        if stretch.restart:
            total = 0.0
        for _ in range(stretch.scrapes):
            values.append(round(total, 3) if stretch.app == "up" else None)
            total += rate * SCRAPE_S if stretch.app == "up" else 0.0
    return values


def _written(values: Values) -> str:
    """Write samples as Prometheus would have them: a target that is lost leaves a stale marker."""
    words = []
    for i, value in enumerate(values):
        if value is None:
            words.append("stale" if i and values[i - 1] is not None else "_")
        else:
            words.append(f"{value:g}" if value < 1e5 else f"{value:.3f}")
    return " ".join(words)
