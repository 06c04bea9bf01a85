"""Ask promtool what the production rules do with a made-up world, as intervals in which each alert fires."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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

    `app` and `exporter` are "up", "down" (the scrape fails) or "gone" (the target vanished); `restart` lets the
    app's counters begin again at 0.
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


def series_of(stretches: Sequence[Stretch]) -> dict[str, Values]:
    """Return every series of the world; None is a sample that is missing."""
    outcome = 'route="{}",method="GET",status_code="{}",outcome="{}"'
    shares = {
        "ok": lambda s: 1.0 - s.error - s.degraded,
        "degraded": lambda s: s.degraded,
        "error": lambda s: s.error,
    }
    series: dict[str, Values] = {
        'up{job="api",instance="app"}': _target(stretches, "app"),
        'up{job="exporter",instance="exporter"}': _target(stretches, "exporter"),
        'redis_up{job="exporter"}': _gauge(stretches, "exporter", lambda s: s.redis_up),
        'pg_up{job="exporter"}': _gauge(stretches, "exporter", lambda s: s.pg_up),
        'http_requests_total{job="api",%s}' % outcome.format("/livez", 200, "ok"): _counter(
            stretches, lambda _: 1.0
        ),
        'http_requests_total{job="api",%s}' % outcome.format("/readyz", 503, "error"): _counter(
            stretches, lambda s: 1.0 if s.cut else 0.0
        ),
    }
    for name in DEPENDENCIES:
        series[f'app_dependency_up{{job="api",dependency="{name}"}}'] = _gauge(
            stretches, "app", lambda s, name=name: name not in s.cut
        )
    for result, share in shares.items():
        status = 503 if result == "error" else 200
        labels = outcome.format(ROUTE, status, result)
        series['http_requests_total{job="api",%s}' % labels] = _counter(
            stretches, lambda s, share=share: s.rps * share(s)
        )
        histogram = f'job="api",route="{ROUTE}",method="GET",outcome="{result}"'
        series[f"http_request_duration_seconds_count{{{histogram}}}"] = _counter(
            stretches, lambda s, share=share: s.rps * share(s)
        )
        series[f'http_request_duration_seconds_bucket{{{histogram},le="0.5"}}'] = _counter(
            stretches,
            lambda s, share=share, result=result: s.rps * share(s) * _fast_share(s, result),
        )
    return series


def firing(
    promtool: Path, rules: Sequence[Path], stretches: Sequence[Stretch], folder: Path
) -> Intervals:
    """Return for each alert the (first, end) of every stretch in which it fires, in seconds.

    `end` is the first evaluation at which it no longer fires, None when it fires to the last. Every alert is looked
    at at every evaluation, so an alert that is not in the result was silent all the time.
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


def _fast_share(stretch: Stretch, result: str) -> float:
    if result == "error":
        return 0.0 if stretch.slow_errors else 1.0
    return 1.0 - stretch.slow


def _target(stretches: Sequence[Stretch], who: str) -> Values:
    value: dict[str, float | None] = {"up": 1.0, "down": 0.0, "gone": None}
    return [value[getattr(s, who)] for s in stretches for _ in range(s.scrapes)]


def _gauge(stretches: Sequence[Stretch], who: str, of) -> Values:
    return [
        float(of(s)) if getattr(s, who) == "up" else None
        for s in stretches
        for _ in range(s.scrapes)
    ]


def _counter(stretches: Sequence[Stretch], rate) -> Values:
    total = 0.0
    values: Values = []
    for stretch in stretches:
        if stretch.restart:
            total = 0.0
        for _ in range(stretch.scrapes):
            values.append(round(total, 3) if stretch.app == "up" else None)
            total += rate(stretch) * SCRAPE_S if stretch.app == "up" else 0.0
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
