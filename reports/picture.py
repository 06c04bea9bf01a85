"""Take the picture of a report: `python -m reports.picture RUNS_DIR OUT.png`, with a Chromium that is on PATH."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from chaos.errors import UsageError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SCENARIO = "redis-down"
SIZE = "1280,2520"
WITHIN_S = 60


def main(arguments: list[str]) -> int:
    """Take the picture of the newest passed run of `redis-down`; 2 when there is none or no browser."""
    try:
        runs, out = (Path(a) for a in arguments)
        take(newest(runs), out)
    except ValueError:
        sys.stderr.write("error: expected RUNS_DIR OUT.png, as `make picture` gives them\n")
        return UsageError.exit_code
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def newest(runs: Path) -> Path:
    """Return the folder of the newest run of `redis-down` that passed."""
    for path in sorted(runs.glob(f"*-{SCENARIO}/run.json"), reverse=True):
        if json.loads(path.read_text())["verdict"] == "PASS":
            return path.parent
    raise UsageError(f"{runs} has no passed {SCENARIO}; run `make chaos SCENARIO={SCENARIO}` first")


def take(run: Path, out: Path) -> None:
    """Let the browser draw the report's first screen into `out`."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise UsageError(f"no browser on PATH; expected one of {', '.join(BROWSERS)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="picture-") as profile:
        subprocess.run(  # noqa: S603 (our own page, no network)
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--hide-scrollbars",
                f"--user-data-dir={profile}",
                f"--screenshot={out.resolve()}",
                f"--window-size={SIZE}",
                (run / "report.html").resolve().as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=WITHIN_S,
        )
    sys.stdout.write(f"{out}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
