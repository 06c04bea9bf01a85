"""The Faults tab of Locust's web UI: faults in force, arrivals by class, send lag, and buttons to inject and heal.

The table is Locust's own extension point (`extended_tabs`, `extended_tables`, `extended_stats`). It has no room for
buttons, so one small script adds them to the page. Both talk to the blueprint here, which forwards to the living
stack's control API: the browser never sees the token.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, jsonify, request

from chaos.errors import ChaosError, UsageError
from loadtests.outcome import BAD
from loadtests.recent import WINDOW_S

if TYPE_CHECKING:
    from loadtests.control import Control
    from loadtests.recent import Recent

KEY = "faults"
TAB = {"title": "Faults", "key": KEY}
TABLE = {
    "key": KEY,
    "structure": [{"key": "what", "title": "What"}, {"key": "now", "title": "Now"}],
}
SCRIPT = b'<script src="chaos/panel.js" defer></script></body>'
LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
ORDER = ("ok", "degraded", "error", "timeout", "dropped")


@dataclass(slots=True)
class FaultsTab:
    """The tab's state: what was last heard from the living stack, and the load's last seconds."""

    control: Control
    recent: Recent
    faults: list[str] = field(default_factory=list)
    trouble: str = "not asked yet"

    def refresh(self) -> None:
        """Ask the living stack. Called beside the requests of the page, which must never wait for it."""
        try:
            self.faults = [str(f) for f in self.control.status().get("faults", ())]
            self.trouble = ""
        except ChaosError as error:
            self.faults, self.trouble = [], str(error)

    def rows(self) -> list[dict[str, str]]:
        """Return the table's rows."""
        faults = self.faults or [self.trouble or "none"]
        rows = [{"what": "Fault in force", "now": fault} for fault in faults]
        classes = self.recent.classes()
        total = sum(classes.values())
        seen = ", ".join(f"{classes[kind]} {kind}" for kind in ORDER if classes[kind])
        last = f"last {WINDOW_S:g} s"
        rows.append({"what": f"Arrivals, {last}", "now": seen or "none"})
        if total:
            bad = sum(classes[kind] for kind in BAD)
            rows.append({"what": f"Bad fraction, {last}", "now": f"{100 * bad / total:.2f} %"})
        lag = self.recent.send_lag_p99_ms()
        rows += [
            {"what": "In flight", "now": str(self.recent.in_flight)},
            {
                "what": f"Send lag p99, {last}",
                "now": "nothing sent" if lag is None else f"{lag:.1f} ms",
            },
        ]
        return rows


def add_to(app: Flask, template_args: dict[str, Any], tab: FaultsTab) -> None:
    """Add the tab, its routes under /chaos and its script to Locust's Flask application."""
    template_args["extended_tabs"] = [TAB]
    template_args["extended_tables"] = [TABLE]

    @app.after_request
    def extend(response: Response) -> Response:
        if request.path == "/stats/requests" and response.is_json:
            # Locust keeps this answer for two seconds and gives it again, so a key is set and nothing appended.
            data = json.loads(response.get_data())
            data["extended_stats"] = [{"key": KEY, "data": tab.rows()}]
            response.set_data(json.dumps(data))
        elif request.path == "/" and response.mimetype == "text/html":
            response.set_data(response.get_data().replace(b"</body>", SCRIPT, 1))
        return response

    app.register_blueprint(_blueprint(tab))


def _blueprint(tab: FaultsTab) -> Blueprint:
    chaos = Blueprint("chaos", __name__, url_prefix="/chaos")

    @chaos.before_request
    def only_from_this_page() -> tuple[Response, int] | None:
        # Locust allows every origin. A page from elsewhere, or a foreign name for this address, must not break things.
        origin = request.headers.get("Origin")
        host = urlsplit(f"//{request.host}").hostname
        if host not in LOOPBACK or (origin and urlsplit(origin).netloc != request.host):
            return jsonify(error="expected a request from this machine's own Locust page"), 403
        return None

    @chaos.errorhandler(ChaosError)
    def explain(error: ChaosError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 400 if isinstance(error, UsageError) else 502

    @chaos.get("/panel.js")
    def panel() -> Response:
        script = files("loadtests").joinpath("web/panel.js").read_text()
        return Response(script, mimetype="text/javascript")

    @chaos.get("/status")
    def status() -> Response:
        return jsonify(rows=tab.rows(), faults=tab.faults, trouble=tab.trouble)

    @chaos.post("/inject")
    def inject() -> Response:
        body = request.get_json(silent=True) or {}
        fault = str(body.get("fault", "")).strip() if isinstance(body, dict) else ""
        if not fault:
            raise UsageError('no fault; expected {"fault": "refuse redis-cache for=30s"}')
        done = tab.control.inject(fault)
        tab.refresh()
        return jsonify(done)

    @chaos.post("/heal")
    def heal() -> Response:
        done = tab.control.heal()
        tab.refresh()
        return jsonify(done)

    return chaos
