"""Every metric family of the backend.

Families are built on an injected registry, so that two apps can live in one process, and every child whose labels are
known is created at start: a counter that is born with its first error hides that error from `increase()`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from app.core.resilience.breaker import BreakerState
from app.core.resilience.guard import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Close together around the SLO's 0.5 s and up to client timeouts, so that no quantile sits on a wide bucket.
HTTP_BUCKETS_S = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
    *(0.6, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0),
)
# Beyond 1 s too: in an outage everything lands there.
DB_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
CHECK_BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

DEPENDENCIES = ("postgres", "redis-cache", "redis-broker", "s3", "live-origin")
OUTCOMES = ("ok", "degraded", "error")
ANSWERS = (
    *(("200", "ok"), ("200", "degraded"), ("202", "ok"), ("202", "degraded")),
    *(("401", "ok"), ("404", "ok"), ("405", "ok"), ("422", "ok"), ("429", "ok")),
    *(("500", "error"), ("503", "error"), ("504", "error")),
)
"""The (status_code, outcome) pairs that any route may give."""

QUERIES = (
    ("select", "videos"),
    ("update", "videos"),
    ("insert", "video_views"),
    ("select", "users"),
    ("insert", "users"),
    ("update", "users"),
    ("insert", "refresh_tokens"),
    ("update", "refresh_tokens"),
    ("insert", "two_factor"),
    ("update", "two_factor"),
    ("select", "uploads"),
    ("insert", "uploads"),
    ("update", "uploads"),
    *((operation, "channels") for operation in ("select", "insert", "update")),
)
"""The (operation, table) pairs that requests run. Each costs a scrape a line per bucket, so no product of all."""

CACHE_RESULTS = {
    "get": ("hit", "miss", "error", "disabled"),
    "set": ("ok", "error", "disabled"),
    "delete": ("ok", "error", "disabled"),
}
STORAGE_RESULTS: dict[str, dict[str, tuple[str, ...]]] = {
    "s3": {
        "get": ("hit", "missing", "error", "disabled"),
        "put": ("ok", "error", "disabled"),
        "stat": ("hit", "missing", "error", "disabled"),
        "verify": ("ok", "mismatch", "error"),
        "delete": ("ok", "error", "disabled"),
    },
    "local": {
        "get": ("hit", "missing", "error"),
        "put": ("ok", "error"),
        "evict": ("ok",),
        "pin": ("ok", "full", "error"),
        "unpin": ("ok", "kept", "error"),
        "delete": ("ok", "error"),
    },
    "placeholder": {"get": ("hit",)},
}


LIVE_RESULTS = {
    "playlist": ("live", "vod", "missing", "unavailable"),
    "segment": ("live", "cached", "vod", "missing", "unavailable"),
    "start": ("ok", "refused", "unavailable"),
    "stop": ("ok", "later"),
    "recording": ("kept", "failed"),
}


class LoginResult(StrEnum):
    """How an attempt to log in ended. A closed list: it is a metric label."""

    SUCCESS = "success"
    INVALID_CREDENTIALS = "invalid_credentials"
    CODE_REQUIRED = "code_required"
    INVALID_CODE = "invalid_code"
    REPLAYED_CODE = "replayed_code"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"


class UploadResult(StrEnum):
    """How an upload ended. A closed list: it is a metric label."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"
    REFUSED = "refused"
    ABORTED = "aborted"
    FAILED = "failed"


QUEUE = "video_processing"
ENQUEUE_RESULTS = ("ok", "error")
PROCESSING_STAGES = ("download", "transcode", "thumbnail", "upload", "publish")
PROCESSING_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class ProcessingError(StrEnum):
    """Why the work on a video ended or paused. A closed list: it is a metric label."""

    NOT_MEDIA = "not_media"
    NO_VIDEO = "no_video"
    TOO_LONG = "too_long"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    ENCODER = "encoder"
    KILLED = "killed"
    UNAVAILABLE = "unavailable"
    STORAGE_FULL = "storage_full"
    SOURCE_MISSING = "source_missing"
    SOURCE_DAMAGED = "source_damaged"
    LEASE_LOST = "lease_lost"
    GAVE_UP = "gave_up"
    UNEXPECTED = "unexpected"


REFRESH_RESULTS = ("success", "invalid", "reused")
TWO_FACTOR_OPERATIONS = ("enrol", "confirm", "disable", "recover")
TWO_FACTOR_RESULTS = ("success", "refused")
SHED_REASONS = ("queueing", "in_flight")
POOL_STATES = ("checked_out", "idle", "overflow")


class Metrics:
    """All families; attributes carry the families' names."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # A `_created` series beside each counter and histogram would double what a scrape costs.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry
        self._add_http()
        self._add_stores()
        self._add_resilience()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._add_accounts()
        self._add_protection()
        self._add_live()
        self._add_work()
        self.views_total = Counter("views_total", "Video views accepted", registry=registry)
        self.uploads_total = Counter(
            "uploads_total", "Uploads, by how they ended", ("result",), registry=registry
        )
        for result in UploadResult:
            self.uploads_total.labels(result)
        self.build_info = Gauge(
            "build_info", "Always 1; what runs", ("version", "python"), registry=registry
        )

    def _add_http(self) -> None:
        registry = self.registry
        self.http_requests_total = Counter(
            "http_requests_total",
            "HTTP requests by how they ended",
            ("method", "route", "status_code", "outcome"),
            registry=registry,
        )
        self.http_request_duration_seconds = Histogram(
            "http_request_duration_seconds",
            "Time to the last byte of the answer",
            ("method", "route", "outcome"),
            buckets=HTTP_BUCKETS_S,
            registry=registry,
        )
        self.http_requests_in_flight = Gauge(
            "http_requests_in_flight", "Requests begun and not ended", registry=registry
        )

    def _add_stores(self) -> None:
        registry = self.registry
        self.cache_operations_total = Counter(
            "cache_operations_total", "Cache operations", ("operation", "result"), registry=registry
        )
        for operation, results in CACHE_RESULTS.items():
            for result in results:
                self.cache_operations_total.labels(operation, result)
        self.db_query_duration_seconds = Histogram(
            "db_query_duration_seconds",
            "Time of a unit of database work, from its turn at a connection to its end",
            ("operation", "table"),
            buckets=DB_BUCKETS_S,
            registry=registry,
        )
        for operation, table in QUERIES:
            self.db_query_duration_seconds.labels(operation, table)
        self.db_pool_connections = Gauge(
            "db_pool_connections", "Connections of the pool", ("state",), registry=registry
        )
        for state in POOL_STATES:
            self.db_pool_connections.labels(state)
        self.db_pool_max_connections = Gauge(
            "db_pool_max_connections", "Connections that the pool may hold", registry=registry
        )
        self.db_pool_wait_seconds = Histogram(
            "db_pool_wait_seconds",
            "Time that a unit of work waited for a connection",
            buckets=DB_BUCKETS_S,
            registry=registry,
        )
        self.storage_operations_total = Counter(
            "storage_operations_total",
            "Operations on stored objects",
            ("backend", "operation", "result"),
            registry=registry,
        )
        for backend, operations in STORAGE_RESULTS.items():
            for operation, results in operations.items():
                for result in results:
                    self.storage_operations_total.labels(backend, operation, result)
        self.storage_spool_files = Gauge(
            "storage_spool_files", "Objects that wait here for the store", registry=registry
        )
        self.storage_spool_bytes = Gauge(
            "storage_spool_bytes", "Their bytes on the disk", registry=registry
        )

    def _add_resilience(self) -> None:
        registry = self.registry
        self.app_dependency_up = Gauge(
            "app_dependency_up",
            "1 when the last health check reached the dependency, or it is switched off",
            ("dependency",),
            registry=registry,
        )
        self.app_dependency_check_duration_seconds = Histogram(
            "app_dependency_check_duration_seconds",
            "Time of a health check",
            ("dependency",),
            buckets=CHECK_BUCKETS_S,
            registry=registry,
        )
        self.app_breaker_state = Gauge(
            "app_breaker_state", "1 for the state it is in", ("name", "state"), registry=registry
        )
        self.app_fallback_total = Counter(
            "app_fallback_total",
            "Answers from a fallback, by why the dependency was not used",
            ("dependency", "reason"),
            registry=registry,
        )
        for dependency in DEPENDENCIES:
            # 0 until the first health check has seen it: unknown is not up.
            self.app_dependency_up.labels(dependency)
            self.app_dependency_check_duration_seconds.labels(dependency)
            for reason in Reason:
                self.app_fallback_total.labels(dependency, reason)

    def _add_accounts(self) -> None:
        registry = self.registry
        self.signups_total = Counter("signups_total", "Accounts made", registry=registry)
        self.logins_total = Counter(
            "logins_total", "Attempts to log in, by how they ended", ("result",), registry=registry
        )
        self.token_refreshes_total = Counter(
            "token_refreshes_total", "Refresh tokens shown", ("result",), registry=registry
        )
        self.two_factor_total = Counter(
            "two_factor_total", "Two-factor operations", ("operation", "result"), registry=registry
        )
        self.password_hash_seconds = Histogram(
            "password_hash_seconds",
            "Time of a password hash or check, from its turn at a thread",
            buckets=DB_BUCKETS_S,
            registry=registry,
        )
        for login in LoginResult:
            self.logins_total.labels(login)
        for result in REFRESH_RESULTS:
            self.token_refreshes_total.labels(result)
        for operation in TWO_FACTOR_OPERATIONS:
            for result in TWO_FACTOR_RESULTS:
                self.two_factor_total.labels(operation, result)

    def _add_live(self) -> None:
        self.live_requests_total = Counter(
            "live_requests_total",
            "What was asked of live channels, by what came of it",
            ("kind", "result"),
            registry=self.registry,
        )
        for kind, results in LIVE_RESULTS.items():
            for result in results:
                self.live_requests_total.labels(kind, result)

    def _add_protection(self) -> None:
        registry = self.registry
        self.http_requests_shed_total = Counter(
            "http_requests_shed_total", "Requests refused early", ("reason",), registry=registry
        )
        for reason in SHED_REASONS:
            self.http_requests_shed_total.labels(reason)
        self.event_loop_lag_seconds = Histogram(
            "event_loop_lag_seconds",
            "How much later than asked for the event loop took its turn",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        self.app_bulkhead_calls = Gauge(
            "app_bulkhead_calls",
            "Calls that hold a place or wait for one",
            ("name", "state"),
            registry=registry,
        )

    def _add_work(self) -> None:
        registry = self.registry
        self.task_enqueue_total = Counter(
            "task_enqueue_total",
            "Tasks given to a queue; after an error it may have them all the same",
            ("queue", "result"),
            registry=registry,
        )
        for result in ENQUEUE_RESULTS:
            self.task_enqueue_total.labels(QUEUE, result)
        self.outbox_pending = Gauge(
            "outbox_pending", "Tasks asked for and not yet given to a queue", registry=registry
        )
        self.video_processing_duration_seconds = Histogram(
            "video_processing_duration_seconds",
            "Time of a stage of the work on a video that ended well",
            ("stage",),
            buckets=PROCESSING_BUCKETS_S,
            registry=registry,
        )
        for stage in PROCESSING_STAGES:
            self.video_processing_duration_seconds.labels(stage)
        self.video_processing_errors_total = Counter(
            "video_processing_errors_total",
            "Attempts at a video that did not end well",
            ("error_type",),
            registry=registry,
        )
        for error in ProcessingError:
            self.video_processing_errors_total.labels(error)

    def watch_bulkhead(
        self, name: str, *, in_flight: Callable[[], int], waiting: Callable[[], int]
    ) -> None:
        """Show a bulkhead, read at each scrape."""
        self.app_bulkhead_calls.labels(name, "in_flight").set_function(in_flight)
        self.app_bulkhead_calls.labels(name, "waiting").set_function(waiting)

    def set_breaker_state(self, name: str, state: str) -> None:
        """Show that breaker `name` is in `state`: 1 there, 0 in the other states."""
        for each in BreakerState:
            self.app_breaker_state.labels(name, each).set(each == state)

    def add_routes(self, routes: Iterable[tuple[str, str]]) -> None:
        """Create the children of every (method, route template) that the app serves."""
        for method, route in routes:
            for status_code, outcome in ANSWERS:
                self.http_requests_total.labels(method, route, status_code, outcome)
            for outcome in OUTCOMES:
                self.http_request_duration_seconds.labels(method, route, outcome)

    def watch_pool(
        self, *, size: int, checked_out: Callable[[], int], idle: Callable[[], int]
    ) -> None:
        """Show a database pool of `size` connections, read at each scrape."""
        self.db_pool_max_connections.set(size)
        self.db_pool_connections.labels("checked_out").set_function(checked_out)
        self.db_pool_connections.labels("idle").set_function(idle)
