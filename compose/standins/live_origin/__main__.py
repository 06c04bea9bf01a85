"""Run the live origin.

`LIVE_KEY` is the key that callers bear, `DATA_DIR` the folder of its state, `HOST` and `PORT` its
address, `FFMPEG` the program to use instead of the packaged one.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import imageio_ffmpeg
from aiohttp import web

from compose.standins.live_origin.clip import ClipError
from compose.standins.live_origin.server import LiveOrigin

NEEDED = {"LIVE_KEY": "the key that callers bear", "DATA_DIR": "the folder of its state"}
SHUTDOWN_S = 0.5
"""How long answers under way may take at the end: with the encoders' limit it stays below 2 s."""


def main() -> int:
    """Serve until the process is ended; 2 when a setting is wrong."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr
    )
    missing = [f"{name} ({what})" for name, what in NEEDED.items() if not os.environ.get(name)]
    port = os.environ.get("PORT", "8900")
    if missing or not port.isdecimal():
        wrong = f"{', '.join(missing)} not set" if missing else f"PORT is {port!r}, not a number"
        sys.stderr.write(f"live_origin: {wrong}\n")
        return 2
    try:
        ffmpeg = os.environ.get("FFMPEG") or imageio_ffmpeg.get_ffmpeg_exe()
        folder = Path(os.environ["DATA_DIR"]).resolve()
        origin = LiveOrigin(folder, ffmpeg, os.environ["LIVE_KEY"])
    except (ClipError, OSError, RuntimeError) as error:
        sys.stderr.write(f"live_origin: cannot start: {error}\n")
        return 2
    web.run_app(
        origin.app(),
        host=os.environ.get("HOST", "127.0.0.1"),
        port=int(port),
        print=None,
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
