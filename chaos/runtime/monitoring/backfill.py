"""Healthy history, so that long windows are true from Prometheus' first second.

A cold 1 h window holds only what exists, so one bad minute looks like a bad hour and pages come too
early. History instead of warm-up: 6 h of it are 6 minutes at S = 60 and take a tenth of a second to
write.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.errors import HarnessError
from chaos.runtime.timescale import check_time_scale, scale_duration_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRAPE_INTERVAL_MS = 15_000
HISTORY_HOURS = 6.0
"""The longest window of the page rules."""

_STDERR_TAIL = 3
_HISTORY = (
    'job="api",instance="history",method="GET",route="history",status_code="200",outcome="ok"'
)


def backfill_openmetrics(
    time_scale: float,
    now: float,
    *,
    rate_rps: float,
    targets: Mapping[str, str],
    hours: float = HISTORY_HOURS,
) -> str:
    """Return OpenMetrics text of healthy requests and scrapes that end just before `now`.

    The history lasts `hours` virtual hours. `now` is wall-clock time in seconds, `rate_rps` the
    real rate that the run will have, `targets` maps each scrape job to its instance label
    (`host:port`). The requests carry labels of their own (`instance="history"`), since the windows
    sum over all; `up` carries the labels of the live targets, which carry the series on without a
    gap.
    """
    check_time_scale(time_scale)
    step_s = scale_duration_ms(SCRAPE_INTERVAL_MS, time_scale) / 1_000
    count = round(hours * 3_600 / time_scale / step_s)
    stamps = [now - step_s * (count - i) for i in range(count)]
    lines = ["# TYPE http_requests counter"]
    lines += [
        f"http_requests_total{{{_HISTORY}}} {round(rate_rps * step_s * i)} {t:.3f}"
        for i, t in enumerate(stamps)
    ]
    lines.append("# TYPE up gauge")
    for job, instance in sorted(targets.items()):
        lines += [f'up{{job="{job}",instance="{instance}"}} 1 {t:.3f}' for t in stamps]
    lines.append("# EOF\n")
    return "\n".join(lines)


async def write_backfill(
    promtool: Path, data_dir: Path, text: str, *, within_s: float = 10.0
) -> None:
    """Write OpenMetrics `text` as blocks into the data folder of a Prometheus that is not running.

    Raises `HarnessError` when promtool refuses the text or needs longer than `within_s`.
    """
    await asyncio.to_thread(data_dir.mkdir, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="backfill-") as folder:
        source = Path(folder) / "history.om"
        source.write_text(text)
        command = (
            str(promtool),
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            "--quiet",
            str(source),
            str(data_dir),
        )
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except OSError as error:
            raise HarnessError(f"cannot run {promtool}: {error}; run `chaosbed setup`") from error
        try:
            output, _ = await asyncio.wait_for(process.communicate(), within_s)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise HarnessError(
                f"promtool wrote no history within {within_s:g} s; is {data_dir} writable?"
            ) from None
    if process.returncode != 0:
        tail = " | ".join(output.decode(errors="replace").splitlines()[-_STDERR_TAIL:])
        raise HarnessError(f"promtool wrote no history (exit code {process.returncode}): {tail}")
