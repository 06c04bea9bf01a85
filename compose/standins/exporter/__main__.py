"""Run the exporter.

`POSTGRES_DSN`, `REDIS_URL` and `BROKER_URL` name its targets, `HOST` and `PORT` its address.
"""

from __future__ import annotations

import logging
import os
import sys

from aiohttp import web

from compose.standins.exporter.probes import PostgresSelect, Probe, QueueLength, RedisPing
from compose.standins.exporter.server import Answers, create_app

QUEUE = "video_processing"
TARGETS = ("POSTGRES_DSN", "REDIS_URL", "BROKER_URL")


def main() -> int:
    """Serve until the process is ended; 2 when a setting is missing."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr
    )
    missing = [name for name in TARGETS if not os.environ.get(name)]
    if missing:
        sys.stderr.write(
            f"exporter: {', '.join(missing)} not set; expected the address of each target\n"
        )
        return 2
    answers = Answers(
        Probe("redis", RedisPing(os.environ["REDIS_URL"])),
        Probe("postgres", PostgresSelect(os.environ["POSTGRES_DSN"])),
        Probe("broker", QueueLength(os.environ["BROKER_URL"], QUEUE)),
        queue_name=QUEUE,
    )
    host = os.environ.get("HOST", "127.0.0.1")
    port = int(os.environ.get("PORT", "9100"))
    web.run_app(
        create_app(answers), host=host, port=port, print=None, access_log=None, shutdown_timeout=1.0
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
