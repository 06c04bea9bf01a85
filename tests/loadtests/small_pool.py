"""A dispatcher with little room, for a process of its own: `python -m tests.loadtests.small_pool DIR HOST SIZE`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from gevent.event import Event
from gevent.pool import Pool
from locust.env import Environment

from loadtests.intended import intended, read_plan
from loadtests.ledger import Ledger
from loadtests.open_loop import Dispatcher, OpenLoopUser
from loadtests.world import World


class User(OpenLoopUser):
    """Only its client is used."""

    abstract = True


def main(folder: Path, host: str, size: int) -> None:
    """Run the plan in `folder` with room for `size` arrivals in flight."""
    environment = Environment(host=host)
    User.host = host
    with Ledger.create(folder) as ledger:
        dispatcher = Dispatcher(
            User(environment).client,
            World(("a", "b")),
            ledger,
            time.monotonic() + 0.1,
            pool=Pool(size),
        )
        dispatcher.run(intended(read_plan(folder)), Event())
        dispatcher.drain()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
