"""Run the payment provider.

`STRIPE_SECRET_KEY` is the key that callers bear, `DATA_DIR` the folder of its state, `HOST` and `PORT` its
address. Events go to `WEBHOOK_URL`, signed with `WEBHOOK_SECRET`; without it nowhere.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import time
from pathlib import Path

from aiohttp import web

from compose.standins.payments.server import Provider
from compose.standins.payments.webhooks import Endpoint

NEEDED = {
    "STRIPE_SECRET_KEY": "the key that callers bear",
    "DATA_DIR": "the folder of its state",
}
SHUTDOWN_S = 1.0


def main() -> int:
    """Serve until the process is ended; 2 when a setting is wrong."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr
    )
    if (wrong := _wrong()) is not None:
        sys.stderr.write(f"payments: {wrong}\n")
        return 2
    url = os.environ.get("WEBHOOK_URL")
    endpoint = Endpoint(url, os.environ["WEBHOOK_SECRET"]) if url else None
    try:
        folder = Path(os.environ["DATA_DIR"]).resolve()
        provider = Provider(folder, os.environ["STRIPE_SECRET_KEY"], endpoint, time.time)
    except (OSError, sqlite3.Error) as error:
        sys.stderr.write(f"payments: cannot start: {error}\n")
        return 2
    web.run_app(
        provider.app(),
        host=os.environ.get("HOST", "127.0.0.1"),
        port=int(os.environ.get("PORT", "12111")),
        print=None,
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
    )
    return 0


def _wrong() -> str | None:
    """Return what is wrong with the settings, None when nothing is."""
    missing = [f"{name} ({what})" for name, what in NEEDED.items() if not os.environ.get(name)]
    if missing:
        return f"{', '.join(missing)} not set"
    port = os.environ.get("PORT", "12111")
    if not port.isdecimal():
        return f"PORT is {port!r}, not a number"
    url = os.environ.get("WEBHOOK_URL", "")
    if url and not url.startswith(("http://", "https://")):
        return "WEBHOOK_URL is no http address"
    if url and not os.environ.get("WEBHOOK_SECRET"):
        return "WEBHOOK_SECRET (what webhooks are signed with) not set"
    return None


if __name__ == "__main__":
    sys.exit(main())
