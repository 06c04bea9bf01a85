"""Social Flow as scenarios see it: its SLOs, alerts, breakers, features, journeys and routes."""

from __future__ import annotations

from chaos.model.scenario import AlertSpec, Load, System
from chaos.model.slo import Slo

WATCH = "/api/v1/videos/{video_id}"
BROWSE = "/api/v1/videos"
TRENDING = "/api/v1/videos/trending"
THUMBNAIL = "/api/v1/videos/{video_id}/thumbnail"
VIEW = "POST /api/v1/videos/{video_id}/views"
LOGIN = "POST /api/v1/auth/login"
CACHED = (WATCH, BROWSE, TRENDING)
"""The routes that are answered from the Redis cache when it is there."""

AVAILABILITY = Slo("availability", "availability", objective=0.999)
LATENCY = Slo("latency-p95", "latency", objective=0.95, threshold_ms=500.0)

ALERTS = (
    AlertSpec("HighErrorRate", detect_s=330, resolve_s=330, severity="page"),
    AlertSpec("HighResponseTime", detect_s=630, resolve_s=330, severity="ticket"),
    AlertSpec(
        "ErrorBudgetBurnPage", detect_s=180, resolve_s=1830, severity="page", labels=("window",)
    ),
    AlertSpec("CacheDown", detect_s=330, resolve_s=45, severity="ticket", labels=("dependency",)),
    AlertSpec("DatabaseDown", detect_s=90, resolve_s=45, severity="page", labels=("dependency",)),
    AlertSpec(
        "DependencyDown", detect_s=90, resolve_s=45, severity="ticket", labels=("dependency",)
    ),
    AlertSpec("ApiDown", detect_s=90, resolve_s=45, severity="page"),
    AlertSpec("Watchdog", detect_s=30, resolve_s=0, severity="none", always=True),
)

SYSTEM = System(
    slos=(AVAILABILITY, LATENCY),
    alerts=ALERTS,
    breakers=("redis-cache", "postgres", "s3"),
    features=("cache", "storage", "auth"),
    journeys=(
        *("watch_page", "browse", "trending", "thumbnail", "view"),
        *("login_code", "login_plain", "intruder", "replay", "guesser"),
    ),
    routes=(WATCH, BROWSE, TRENDING, THUMBNAIL, VIEW, LOGIN),
)

MIX = (
    ("watch_page", 0.50),
    ("trending", 0.10),
    ("browse", 0.10),
    ("thumbnail", 0.20),
    ("view", 0.10),
)

EVERYDAY = Load(rate_rps=240, journeys=MIX)
"""240/s for 40 s: enough arrivals to decide 99.9 % with a few bad ones to spare, and light on two cores."""

LISTENERS = Load(rate_rps=240, journeys=(*MIX, ("login_code", 0.01)))
"""Beside the everyday load somebody logs in with a code every half second."""

BESIEGED = Load(
    rate_rps=240,
    journeys=(
        *((name, weight * 0.945) for name, weight in MIX),
        *(("login_code", 0.025), ("login_plain", 0.005)),
        *(("intruder", 0.01), ("replay", 0.005), ("guesser", 0.01)),
    ),
)
"""Honest logins and attacks on them. A password check takes about 30 ms of a core, and this asks for ten a second."""

WRITERS = Load(
    rate_rps=240,
    journeys=(
        ("watch_page", 0.25),
        ("trending", 0.05),
        ("browse", 0.05),
        ("thumbnail", 0.15),
        ("view", 0.50),
    ),
)
"""Half of the arrivals write, so that an outage of the database cannot hide behind the cache."""

GATE = (
    *("steady-state", "redis-down", "redis-blackhole", "redis-paused"),
    *("auth-without-redis", "s3-down", "database-down"),
)
"""What CI runs, in this order."""
