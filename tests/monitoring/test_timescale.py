"""Time scale S: everything that is a length of time shrinks, nothing else changes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import UsageError
from chaos.runtime.monitoring import MonitoringRender, render
from chaos.runtime.timescale import (
    check_time_scale,
    parse_duration_ms,
    scale_document,
    scale_duration,
    scale_promql,
)
from tests.compose.promtool import ROOT

FILES = (
    *sorted((ROOT / "compose/prometheus/rules").glob("*.yml")),
    ROOT / "compose/prometheus/prometheus.yml",
    ROOT / "compose/alertmanager/alertmanager.yml",
)
SCALES = st.floats(min_value=1, max_value=150)


@pytest.mark.parametrize(
    ("expr", "scaled"),
    [
        ("rate(x[5m])", "rate(x[5000ms])"),
        ("max_over_time(rate(x[1h])[6h:1m])", "max_over_time(rate(x[60000ms])[360000ms:1000ms])"),
        ("rate(x[1h:])", "rate(x[60000ms:])"),
        ("x offset 1h", "x offset 60000ms"),
        ("x offset -5m", "x offset -5000ms"),
        ("x offset 300", "x offset 5000ms"),
        ("rate(x[300])", "rate(x[5000ms])"),
        ("age_seconds > 10m", "age_seconds > 10000ms"),
        ("age > 600 # scale: divide, seconds", "age > 10 # 600 divided by 60"),
        (
            "a > 0.05\nand b > 100 # scale: divide",
            "a > 0.05\nand b > 1.66666666666667 # 100 divided by 60",
        ),
        ("slo:error:ratio_rate5m > 14.4 * 0.001", "slo:error:ratio_rate5m > 14.4 * 0.001"),
        ('x{le="5m",path=~"[0-9]+"}', 'x{le="5m",path=~"[0-9]+"}'),
        ("histogram_quantile(0.95, sum by (le) (y))", "histogram_quantile(0.95, sum by (le) (y))"),
        ("x @ 1700000000", "x @ 1700000000"),
        ("x > 1e3 # a note about 5m", "x > 1e3 # a note about 5m"),
        ("rate5m > 5", "rate5m > 5"),
    ],
)
def test_promql_scales_lengths_of_time_only(expr: str, scaled: str) -> None:
    """Windows, steps, offsets, durations and marked numbers shrink; names, text, ratios stay."""
    assert scale_promql(expr, 60) == scaled


@pytest.mark.parametrize(
    ("expr", "complaint"),
    [
        ("rate(x[5m * 2])", "expected one plain duration"),
        ("a > 5\nand b # scale: divide", "no number before it"),
        ("a > 5 # scale: multiply", "expected '# scale: divide'"),
        ("rate(x[five])", "expected Prometheus' form"),
    ],
)
def test_promql_that_cannot_be_scaled_is_refused(expr: str, complaint: str) -> None:
    """What is not understood is an error, never left as it is."""
    with pytest.raises(UsageError, match=complaint.replace("'", ".").replace("(", ".")):
        scale_promql(expr, 60)


@pytest.mark.parametrize("bad", [0.0, -1.0, 0.5, 151.0, math.nan, math.inf])
def test_a_time_scale_out_of_range_is_one_clear_line(bad: float) -> None:
    """`--time-scale 0` and the like tell value, expectation and next step on one line."""
    with pytest.raises(UsageError) as caught:
        check_time_scale(bad)

    assert "\n" not in str(caught.value)
    assert f"time scale {bad:g}; expected 1 (real time) to 150" in str(caught.value)
    with pytest.raises(UsageError):
        MonitoringRender(bad)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_scale_one_means_the_same_as_the_source(path: Any) -> None:
    """At S = 1 every duration is as long as before and everything else is the same."""
    source = path.read_text()

    assert _meaning(scale_document(source, 1)) == _meaning(source)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
@pytest.mark.parametrize("time_scale", [30.0, 60.0, 150.0])
def test_nothing_but_durations_and_marked_numbers_changes(path: Any, time_scale: float) -> None:
    """With all durations and marked numbers taken out, the rendering is the source."""
    source = path.read_text()

    assert _skeleton(scale_document(source, time_scale)) == _skeleton(source)


@given(st.integers(min_value=0, max_value=10**9), SCALES)
def test_durations_keep_their_length_to_half_a_millisecond(ms: int, time_scale: float) -> None:
    """Scaling divides exactly, up to whole milliseconds, and never makes nothing of something."""
    scaled = parse_duration_ms(scale_duration(f"{ms}ms", time_scale))

    assert abs(scaled - ms / time_scale) <= (0.5 if ms / time_scale >= 1 else 1)
    assert (scaled == 0) == (ms == 0)


@pytest.mark.parametrize(
    ("time_scale", "timeout"), [(1, "10000ms"), (10, "1000ms"), (60, "250ms"), (150, "100ms")]
)
def test_a_scrape_keeps_its_real_time(time_scale: float, timeout: str) -> None:
    """A scrape's limit goes down to one second or its interval, since an answer takes real time."""
    text = "global:\n  scrape_interval: 15s\n  scrape_timeout: 10s\n"

    assert yaml.safe_load(scale_document(text, time_scale))["global"]["scrape_timeout"] == timeout


def test_limits_of_real_calls_stay() -> None:
    """`timeout` is how long a call may take, and calls are as slow in a run as in production."""
    text = "alerting:\n  alertmanagers:\n  - timeout: 10s\n"

    assert "timeout: 10s" in scale_document(text, 60)


def test_an_unknown_duration_is_refused() -> None:
    """A duration whose key is not known to scale or to stay is an error that names it."""
    with pytest.raises(
        UsageError, match=r"storage\.tsdb\.out_of_order_time_window: '30m' looks like"
    ):
        scale_document("storage:\n  tsdb:\n    out_of_order_time_window: 30m\n", 60)


def test_a_refused_file_is_named() -> None:
    """The error of a rendering says which file of which component it is about."""
    with pytest.raises(UsageError, match=r"/etc/prometheus/rules/x\.yml of prometheus: window"):
        render("prometheus", "/etc/prometheus/rules/x.yml", "expr: rate(x[a+b])", 60)


def test_only_files_of_the_monitoring_are_rendered() -> None:
    """Routes, compose files and files of other components pass through unchanged."""
    assert render("app", "/etc/x.yml", "for: 5m\n", 60) == "for: 5m\n"
    assert render("prometheus", "/etc/web.json", "{}", 60) == "{}"


def test_the_webhook_marker_becomes_the_sink() -> None:
    """Notifications of a run go to its own recorder, and to nobody when there is none."""
    text = (ROOT / "compose/alertmanager/alertmanager.yml").read_text()
    path = "/etc/alertmanager/alertmanager.yml"

    assert "http://127.0.0.1:4321/pager" in MonitoringRender(60, "127.0.0.1:4321")(
        "alertmanager", path, text
    )
    assert "webhook-sink" not in MonitoringRender(60)("alertmanager", path, text)


def _meaning(text: str) -> Any:
    """Replace every duration by its length, so that 5m and 300000ms are equal; drop comments."""
    return _walk(yaml.safe_load(text), lambda expr: _tokens(expr, keep=True), parse_duration_ms)


def _skeleton(text: str) -> Any:
    """Replace every duration and marked number by a placeholder."""
    return _walk(yaml.safe_load(text), lambda expr: _tokens(expr, keep=False), lambda _: "D")


def _walk(node: Any, expr: Any, duration: Any) -> Any:
    if isinstance(node, list):
        return [_walk(item, expr, duration) for item in node]
    if isinstance(node, dict):
        return {k: expr(v) if k == "expr" else _walk(v, expr, duration) for k, v in node.items()}
    if isinstance(node, str):
        try:
            return duration(node) if node[-1:] in set("smhdwy") and node[:1].isdigit() else node
        except UsageError:
            return node
    return node


def _tokens(expr: str, *, keep: bool) -> list[Any]:
    """Split an expression apart from the code under test: at brackets and marked numbers."""
    out: list[Any] = []
    for line in expr.splitlines():
        code, _, comment = line.partition(" #")
        marked = "scale: divide" in comment or "divided by" in comment
        for word in code.replace("[", " [ ").replace("]", " ] ").split():
            in_window = bool(out) and out[-1] == "["
            if in_window:
                out.append(parse_duration_ms(word) if keep else "D")
            elif marked and word.replace(".", "").isdigit():
                out.append(float(word) if keep else "N")
            else:
                out.append(word)
    return out
