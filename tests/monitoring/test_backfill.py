"""History before the first second: as long, as even and as healthy as the long windows need."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from chaos.errors import HarnessError, UsageError
from chaos.runtime.monitoring import backfill_openmetrics, write_backfill
from chaos.setup.locate import tool

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0
TARGETS = {"api": "127.0.0.1:20009", "exporter": "127.0.0.1:20010"}


@pytest.mark.parametrize("time_scale", [1, 60, 150])
def test_history_covers_six_virtual_hours_and_ends_just_before_now(time_scale: float) -> None:
    """The samples reach from six virtual hours ago to one scrape ago, at the real request rate."""
    text = backfill_openmetrics(time_scale, NOW, rate_rps=200, targets=TARGETS)
    rows = re.findall(r"^http_requests_total\{.*\} (\d+) (\d+\.\d+)$", text, re.MULTILINE)
    values, stamps = [float(v) for v, _ in rows], [float(t) for _, t in rows]

    assert len(rows) == 1_440
    assert stamps[0] == pytest.approx(NOW - 21_600 / time_scale, abs=0.01)
    assert NOW - stamps[-1] == pytest.approx(15 / time_scale, abs=0.01)
    assert (values[-1] - values[0]) / (stamps[-1] - stamps[0]) == pytest.approx(200, rel=0.01)


def test_history_is_healthy() -> None:
    """No failed request or scrape stands in it, and `up` carries the live targets' labels."""
    text = backfill_openmetrics(60, NOW, rate_rps=200, targets=TARGETS)

    assert "error" not in text
    assert re.search(r'^up\{job="api",instance="127.0.0.1:20009"\} 1 ', text, re.MULTILINE)
    assert not re.search(r"^up\{.*\} 0 ", text, re.MULTILINE)
    assert text.endswith("# EOF\n")


def test_a_bad_time_scale_is_refused() -> None:
    """The backfill has the limits of the rendering."""
    with pytest.raises(UsageError):
        backfill_openmetrics(0, NOW, rate_rps=200, targets=TARGETS)


async def test_six_hours_are_written_faster_than_one_scrape_interval(tmp_path: Path) -> None:
    """Promtool takes the text and leaves blocks; it costs a fraction of a second."""
    begun = time.monotonic()
    text = backfill_openmetrics(60, time.time(), rate_rps=200, targets=TARGETS)
    await write_backfill(tool("promtool"), tmp_path / "data", text)

    assert time.monotonic() - begun < 1  # 0.2 s on an idle machine
    assert list((tmp_path / "data").glob("*/meta.json"))


async def test_refused_history_is_an_error_that_tells_why(tmp_path: Path) -> None:
    """What promtool says about bad text is in the error."""
    with pytest.raises(
        HarnessError, match=r"promtool wrote no history .exit code 1.: .*invalid syntax"
    ):
        await write_backfill(tool("promtool"), tmp_path, "no metrics at all\n")


async def test_a_missing_promtool_names_the_command_that_mends_it(tmp_path: Path) -> None:
    """Without the tool the error says what to run."""
    with pytest.raises(HarnessError, match="chaosbed setup"):
        await write_backfill(tmp_path / "promtool", tmp_path, "# EOF\n")
