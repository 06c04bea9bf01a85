"""Locust's web UI on a living stack, with an open-loop user beside a classic closed-loop one, and a tab of faults.

    python -m locust -f loadtests/locustfile.py --class-picker --host http://127.0.0.1:PORT --web-host 127.0.0.1

`chaosbed loadtest` (or `make loadtest`) starts it so. `CHAOSBED_CONTROL` names the living stack's control file; then
the tab "Faults" injects and heals, else it only shows the load.
"""

from __future__ import annotations

import itertools
import json
import os
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from flask import Blueprint, jsonify, redirect, render_template_string, request
from locust import FastHttpUser, constant_pacing, events, task

from chaos.model.scenario import Load, Phase
from chaos.model.schedule import Due, schedule
from loadtests.journeys import JOURNEYS, Answer, World
from loadtests.open_loop import LoadState, OpenLoopUser
from loadtests.world import NoWorldError, discover

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locust.env import Environment

SLICE_S = 10.0
MAX_RUN_S = 3_600.0
RECENT_S = 5.0
CONTROL_WITHIN_S = 15.0
MIX = (
    ("watch_page", 0.50),
    ("trending", 0.10),
    ("browse", 0.10),
    ("thumbnail", 0.20),
    ("view", 0.10),
)
STATE = LoadState()
WORLDS: dict[str, World] = {}
"""The world of each host, learned once at the start of a test."""


class OpenLoop(OpenLoopUser):
    """Arrivals at --rate a second, whether or not the backend keeps up: what real users do."""

    state = STATE

    def schedule(self) -> Iterator[Due]:
        """Yield a seeded schedule slice by slice, up to an hour."""
        options = self.environment.parsed_options
        load = Load(float(options.rate), MIX)
        for n in itertools.count():
            start = n * SLICE_S
            if start >= MAX_RUN_S:
                return
            for due in schedule(load, (Phase("live", SLICE_S),), int(options.seed) + n):
                yield Due(due.n, start + due.due_s, due.journey, due.phase, due.seed)

    def anchor(self) -> float:
        """Start now."""
        self.world = WORLDS[self.host]
        return time.monotonic()


class ClosedLoop(FastHttpUser):
    """A user who waits for the answer before asking again: hides stalls, shown for comparison."""

    wait_time = constant_pacing(0.1)
    network_timeout = OpenLoopUser.network_timeout
    connection_timeout = OpenLoopUser.connection_timeout

    def on_start(self) -> None:
        """Give each user a taste of its own."""
        self.rng = Random(id(self))  # noqa: S311 (no secret)

    @task
    def any_journey(self) -> None:
        """Do one journey, drawn by weight."""
        names, weights = zip(*MIX, strict=True)
        step = JOURNEYS[self.rng.choices(names, weights)[0]](self.rng, WORLDS[self.host])
        with self.client.request(
            step.method, step.path, name=step.route, catch_response=True
        ) as response:
            if response.status_code:
                headers = {str(k).lower(): str(v) for k, v in (response.headers or {}).items()}
                wrong = step.wrong(Answer(response.status_code, headers, response.content or b""))
                if wrong:
                    response.failure(wrong)


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:  # noqa: ANN401 (configargparse has no types)
    parser.add_argument("--rate", type=float, default=100, help="Arrivals a second of OpenLoop")
    parser.add_argument("--seed", type=int, default=1, help="Seed of OpenLoop's schedule")


@events.test_start.add_listener
def _learn(environment: Environment, **_: object) -> None:
    host = str(environment.host)
    try:
        WORLDS[host] = discover(host)
    except NoWorldError as error:
        environment.runner.quit()
        raise SystemExit(f"error: {error}") from error


@events.init.add_listener
def _tab(environment: Environment, **_: object) -> None:
    """Add the page /chaos and a tab with what it shows."""
    ui = environment.web_ui
    if ui is None:
        return
    pages = Blueprint("chaos", __name__, url_prefix="/chaos")
    pages.add_url_rule("/", "page", _page)
    pages.add_url_rule("/status", "status", lambda: jsonify(_facts()))
    pages.add_url_rule("/inject", "inject", _inject, methods=["POST"])
    pages.add_url_rule("/heal", "heal", _heal, methods=["POST"])
    ui.app.register_blueprint(pages)
    ui.template_args["extended_tabs"] = [{"title": "Faults", "key": "faults"}]
    ui.template_args["extended_tables"] = [
        {
            "key": "faults",
            "structure": [{"key": "what", "title": "What"}, {"key": "value", "title": "Value"}],
        }
    ]

    def extend(response: Any) -> Any:  # noqa: ANN401 (Flask's response)
        if request.path == "/stats/requests" and response.is_json:
            body = response.get_json()
            rows = [{"what": k, "value": v, "safe_name": k} for k, v in _facts().items()]
            body["extended_stats"] = [{"key": "faults", "data": rows}]
            response.set_data(json.dumps(body))
        return response

    ui.app.after_request(extend)


def _facts() -> dict[str, str]:
    """Return what the tab shows: faults in force, the mix of the last seconds, how well the schedule is kept."""
    since = time.monotonic() - RECENT_S
    mix = Counter(kind for when, kind in list(STATE.recent) if when >= since)
    lags = sorted(STATE.lags_ms[-2_000:])
    facts = {
        f"last {RECENT_S:g} s": ", ".join(f"{n} {kind}" for kind, n in mix.most_common())
        or "no open-loop arrivals",
        "send lag p99": f"{lags[int(len(lags) * 0.99)]:.1f} ms" if lags else "-",
        "dropped by the generator": str(STATE.dropped),
    }
    status, error = _control("GET", "/status")
    facts["faults in force"] = error or ", ".join(status.get("faults", [])) or "none"
    facts["to break and heal"] = "open /chaos/ on this server"
    return facts


def _page() -> str:
    return render_template_string(PAGE, facts=_facts(), said=request.args.get("said", ""))


def _inject() -> Any:  # noqa: ANN401 (Flask's response)
    text = request.form.get("fault", "")
    done, error = _control("POST", "/inject", {"fault": text})
    return redirect(
        f"/chaos/?said={urllib.request.quote(error or 'in force: ' + str(done.get('fault')))}"
    )


def _heal() -> Any:  # noqa: ANN401 (Flask's response)
    _, error = _control("POST", "/heal", {})
    return redirect(f"/chaos/?said={urllib.request.quote(error or 'healed')}")


def _control(
    method: str, path: str, body: dict[str, Any] | None = None
) -> tuple[dict[str, Any], str]:
    """Call the living stack's control API; return (answer, problem in words)."""
    try:
        control = json.loads(Path(os.environ.get("CHAOSBED_CONTROL", "")).read_text())
    except (OSError, ValueError):
        return {}, "no living stack; start one with `chaosbed up`"
    call = urllib.request.Request(  # noqa: S310 (loopback, from our own file)
        control["url"] + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {control['token']}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(call, timeout=CONTROL_WITHIN_S) as response:  # noqa: S310
            return dict(json.loads(response.read())), ""
    except urllib.error.HTTPError as error:
        try:
            return {}, str(json.loads(error.read())["error"])
        except (ValueError, KeyError):
            return {}, f"the living stack answered {error.code}"
    except OSError as error:
        return {}, f"the living stack did not answer: {error}"


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Faults</title>
<meta http-equiv="refresh" content="5;url=/chaos/">
<style>body{font:15px/1.5 system-ui;margin:3rem auto;max-width:44rem;padding:0 1rem;color-scheme:light dark}
td{padding:.2rem 1rem .2rem 0;vertical-align:top}input,button{font:inherit;padding:.4rem .6rem}
input{width:26rem;max-width:100%}.said{padding:.5rem .8rem;border-left:4px solid #c60;margin:1rem 0}</style>
<h1>Faults on the living stack</h1>
{% if said %}<p class="said">{{ said }}</p>{% endif %}
<table>{% for what, value in facts.items() %}<tr><td>{{ what }}</td><td><b>{{ value }}</b></td></tr>{% endfor %}</table>
<form method="post" action="/chaos/inject"><p><input name="fault" list="examples" aria-label="fault"
 placeholder="refuse redis-cache for=30s"> <button>inject</button></p><datalist id="examples">
<option>refuse redis-cache for=30s</option><option>latency redis-cache delay_ms=200 for=30s</option>
<option>blackhole redis-cache for=30s</option><option>refuse s3 for=30s</option><option>refuse postgres for=20s</option>
<option>pause redis for=20s</option><option>kill redis for=20s</option></datalist></form>
<form method="post" action="/chaos/heal"><button>heal everything</button></form>
<p><a href="/">back to Locust</a></p></html>"""
