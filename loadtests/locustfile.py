"""Load for people: Locust's web UI on a living stack, open-loop beside closed-loop, with a Faults tab.

`make loadtest` (`chaosbed loadtest`) starts it as

    python -m locust -f loadtests/locustfile.py --class-picker --host http://127.0.0.1:PORT
        --web-host 127.0.0.1 --web-port 8089

Choose `OpenLoop` (arrivals at `--rate`, whatever the answers do; the rate can be changed while it runs) or
`ClosedLoop` (`--users` visitors that wait for their answers, and so hide what a stall costs). Both judge answers by
the same oracles. `--web-host` and `--run-time` have defaults here: loopback, and ten minutes.

Environment: CHAOSBED_CONTROL is the control file of the living stack (default .chaosbed/control.json). Without a
stack the Faults tab says so and everything else works.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import gevent
from locust import FastHttpUser, between, events, task
from locust.exception import StopUser

from chaos.errors import ChaosError, UsageError
from chaos.model.scenario import MAX_RATE_RPS, MAX_RUN_S
from chaos.model.schedule import Due
from loadtests import faults_tab
from loadtests.control import Control
from loadtests.endless import MIN_RATE_RPS, endless
from loadtests.journeys import journey
from loadtests.open_loop import CLIENT_LIMIT_S, CONNECT_LIMIT_S, Dispatcher, OpenLoopUser
from loadtests.prepare import prepared
from loadtests.recent import Recent
from loadtests.studio import keep_renewed

if TYPE_CHECKING:
    from loadtests.world import World

log = logging.getLogger("loadtests")

MIX = (
    *(("watch_page", 0.45), ("trending", 0.10), ("browse", 0.10), ("thumbnail", 0.18)),
    *(("view", 0.10), ("watch_range", 0.045), ("upload", 0.005), ("upload_status", 0.01)),
    ("watch_upload", 0.01),
)
DEFAULT_RATE_RPS = 100.0
DEFAULT_RUN_TIME = "10m"
REFRESH_S = 1.0
ROOT = Path(__file__).resolve().parent.parent
RECENT = Recent()
FETCHING = Lock()
"""Users start together; the first one learns the world for all."""


@lru_cache(maxsize=4)
def world_of(host: str) -> World:
    """Return the world behind a host, prepared for every journey of the mix."""
    world = prepared(host, (journey(name) for name, _ in MIX))
    if world.studio is not None:
        gevent.spawn(keep_renewed, world.studio.tokens, gevent.sleep)
    return world


class OpenLoop(OpenLoopUser):
    """Arrivals at a rate, due when the seeded schedule says so; latency counts from then."""

    def drive(self) -> None:
        """Send arrivals until Locust stops this user, then wait for the answers under way."""
        options = self.environment.parsed_options
        dispatcher = Dispatcher(self.client, _world(self), RECENT, time.monotonic())
        schedule = endless(lambda: float(options.rate), MIX, int(options.seed))
        try:
            dispatcher.run(schedule, stop=_Never())
        finally:
            dispatcher.drain()


class ClosedLoop(FastHttpUser):
    """A visitor who asks, waits for the answer, thinks, and asks again; latency counts from the asking."""

    wait_time = between(0.05, 0.15)
    network_timeout = CLIENT_LIMIT_S
    connection_timeout = CONNECT_LIMIT_S

    def on_start(self) -> None:
        """Learn the world, and keep a schedule only for what to ask next."""
        self.dispatcher = Dispatcher(self.client, _world(self), RECENT, time.monotonic())
        self.wishes = endless(lambda: MIN_RATE_RPS, MIX, id(self) % 2**31)

    @task
    def visit(self) -> None:
        """Ask for the next thing, due now."""
        wish = next(self.wishes)
        now_s = self.dispatcher.now_s()
        self.dispatcher.arrive(Due(wish.n, now_s, wish.journey, wish.phase, wish.seed))


class _Never:
    def is_set(self) -> bool:
        return False


def _world(user: FastHttpUser) -> World:
    """Return the world behind the user's host; without one the load cannot run and is stopped."""
    try:
        with FETCHING:
            return world_of(user.host)
    except ChaosError as error:
        log.error("%s", error)  # noqa: TRY400  one clear line, the trace says no more
        gevent.spawn(user.environment.runner.stop)
        raise StopUser from error


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_arguments(parser: Any, **_: object) -> None:  # noqa: ANN401 (Locust's own)
    """Add our arguments, which the web UI shows as fields, and our defaults for Locust's."""
    parser.add_argument(
        "--rate",
        type=float,
        default=DEFAULT_RATE_RPS,
        help=f"OpenLoop: arrivals a second, {MIN_RATE_RPS:g} to {MAX_RATE_RPS:g}",
    )
    parser.add_argument("--seed", type=int, default=1, help="OpenLoop: seed of the schedule")
    parser.set_defaults(web_host="127.0.0.1", run_time=DEFAULT_RUN_TIME)


@events.init.add_listener  # type: ignore[untyped-decorator]
def prepare(environment: Any, web_ui: Any, **_: object) -> None:  # noqa: ANN401 (Locust's own)
    """Refuse what is not for this machine alone; add the Faults tab; let no load run for ever."""
    options = environment.parsed_options
    if web_ui is not None:
        if options.web_host not in faults_tab.LOOPBACK:
            wrong = f"--web-host {options.web_host!r}; expected 127.0.0.1, as the page can break the stack"
            log.error("%s", wrong)
            sys.exit(UsageError.exit_code)
        path = os.environ.get("CHAOSBED_CONTROL") or ROOT / ".chaosbed" / "control.json"
        tab = faults_tab.FaultsTab(Control(Path(path)), RECENT)
        faults_tab.add_to(web_ui.app, web_ui.template_args, tab)
        gevent.spawn(_refresh_for_ever, tab)

    limits: list[gevent.Greenlet] = []

    @environment.events.test_start.add_listener  # type: ignore[untyped-decorator]
    def limit(**_: object) -> None:
        RECENT.forget()
        limits.append(gevent.spawn_later(MAX_RUN_S, environment.runner.stop))

    @environment.events.test_stop.add_listener  # type: ignore[untyped-decorator]
    def unlimit(**_: object) -> None:
        while limits:
            limits.pop().kill(block=False)


def _refresh_for_ever(tab: faults_tab.FaultsTab) -> None:
    while True:
        tab.refresh()
        gevent.sleep(REFRESH_S)
