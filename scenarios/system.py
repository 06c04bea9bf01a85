"""Social Flow as scenarios see it: its SLOs, alerts, breakers, features, journeys and routes."""

from __future__ import annotations

from dataclasses import replace

from chaos.model.expectations import Degrades, InvariantHolds
from chaos.model.scenario import AlertSpec, Load, System
from chaos.model.slo import Slo
from scenarios.invariants import INVARIANTS
from scenarios.reads import READS, SETTLES

WATCH = "/api/v1/videos/{video_id}"
BROWSE = "/api/v1/videos"
TRENDING = "/api/v1/videos/trending"
THUMBNAIL = "/api/v1/videos/{video_id}/thumbnail"
VIEW = "POST /api/v1/videos/{video_id}/views"
UPLOAD = "POST /api/v1/videos"
STREAM = "/api/v1/videos/{video_id}/stream"
PLAYLIST = "/api/v1/live/{name}/index.m3u8"
SEGMENT = "/api/v1/live/{name}/segments/{file}"
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
    breakers=("redis-cache", "redis-broker", "postgres", "s3", "live-origin"),
    features=("cache", "storage", "auth", "tasks", "live"),
    journeys=(
        *("watch_page", "browse", "trending", "thumbnail", "view"),
        *("login_code", "login_plain", "intruder", "replay", "guesser"),
        *("upload", "upload_again", "upload_status", "watch_upload", "watch_range", "view_again"),
        *("live_playlist", "live_segment"),
    ),
    routes=(
        *(WATCH, BROWSE, TRENDING, THUMBNAIL, VIEW, LOGIN),
        *(UPLOAD, STREAM, PLAYLIST, SEGMENT),
    ),
    reads=READS,
    settles=SETTLES,
    invariants=INVARIANTS,
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

UNHURRIED = replace(EVERYDAY, rate_rps=130)
"""Enough to decide 99.9 %, and far from what the machine can do, so that latencies are no queue's."""

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

CREATORS = Load(
    rate_rps=150,
    journeys=(
        *(("watch_page", 0.37), ("trending", 0.07), ("browse", 0.07), ("thumbnail", 0.15)),
        *(("view", 0.24), ("view_again", 0.01), ("watch_range", 0.047)),
        *(("upload", 0.01), ("upload_again", 0.003), ("upload_status", 0.02)),
        ("watch_upload", 0.01),
    ),
)
"""Three clips in two seconds beside 150 readers and viewers: what one worker and an app can do on two cores."""

AUDIENCE = Load(
    rate_rps=150,
    journeys=(
        *((name, weight * 0.85) for name, weight in CREATORS.journeys),
        *(("live_playlist", 0.08), ("live_segment", 0.07)),
    ),
)
"""The same beside a channel that twelve viewers follow."""

NOTHING_LOST = (
    InvariantHolds("uploads-kept", min_count=30),
    InvariantHolds("processed-once", min_count=30),
    InvariantHolds("nothing-stray", min_count=30),
    InvariantHolds("all-settled", min_count=30),
    InvariantHolds("views-conserved", min_count=500),
)
"""What holds of every acknowledged write, whatever fails; fewer writes would prove little."""

THUMBNAILS_ARE_COPIES = Degrades(
    "storage", phase="fault", routes=(THUMBNAIL,), min_share=0.95, max_bad_share=0.02
)
# A second attempt of an upload that is through asks the store for nothing, so it is no degraded answer.
UPLOADS_ARE_PINNED = Degrades(
    "storage",
    phase="fault",
    routes=(UPLOAD,),
    min_share=0.75,
    max_bad_share=0.2,
    journeys=("upload",),
)
"""Some twenty uploads come in a fault; more than this cannot be shown with so few."""

GATE = (
    *("steady-state", "redis-down", "redis-blackhole", "redis-paused"),
    *("auth-without-redis", "s3-down", "database-down"),
)
"""What CI runs, in this order."""
