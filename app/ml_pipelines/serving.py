"""The model that is served: loaded and exchanged while it answers, and asked within limits of time and number."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Gauge, Histogram

from app.ml_pipelines.artefact import ArtefactError, Fault, Model, load
from app.ml_pipelines.predictor import GaveUpError, Prediction, predict, work
from app.ml_pipelines.protocol import Reason, RequestError

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client import CollectorRegistry

    from app.ml_pipelines.protocol import Asked

ROUTES = (
    *("server_metadata", "server_live", "server_ready", "model_metadata", "model_ready"),
    *("model_infer", "repository_index", "repository_load", "repository_unload", "unmatched"),
)
STATUS_CODES = (200, 400, 404, 405, 413, 499, 500, 503, 504)
LATENCY_BUCKETS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
    *(0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0),
)

log = structlog.get_logger(component="ml-server")


class State(StrEnum):
    """The states of the model repository extension."""

    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"


class ServerMetrics:
    """What the server counts; every child whose labels are known is there from the start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "ml_server_requests_total",
            "Requests answered, by route and status; 499 is a caller who went away",
            ("route", "status_code"),
            registry=registry,
        )
        self.latency = Histogram(
            "ml_server_latency_seconds",
            "Time from the request to the end of its answer",
            ("route",),
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.in_flight = Gauge(
            "ml_server_predictions_in_flight", "Predictions under way or waiting", registry=registry
        )
        self.loads = Counter(
            "ml_model_loads_total",
            "Attempts to load the deployed model, by what came of it",
            ("result",),
            registry=registry,
        )
        self.info = Gauge(
            "ml_model_info", "1 for the version that is served", ("version",), registry=registry
        )
        self.created = Gauge(
            "ml_model_created_timestamp_seconds",
            "When the served model was trained; 0 without one",
            registry=registry,
        )
        for route in ROUTES:
            self.latency.labels(route)
            for status_code in STATUS_CODES:
                self.requests.labels(route, status_code)
        for result in ("ok", *Fault):
            self.loads.labels(result)

    def show(self, model: Model | None) -> None:
        """Show which version is served; only one at a time."""
        self.info.clear()
        self.created.set(0 if model is None else model.created_at.timestamp())
        if model is not None:
            self.info.labels(model.version).set(1)


@dataclass(frozen=True, slots=True)
class Limits:
    """What predictions may take. `work_units` is extra work for each user of a batch, about 1 ms of one core each."""

    deadline_s: float = 1.0
    max_in_flight: int = 32
    work_units: int = 0
    max_age: timedelta = timedelta(days=30)
    verify: bool = True


class Serving:
    """One model. A request keeps the version that it began with; an exchange waits for nobody."""

    def __init__(self, folder: Path, limits: Limits, metrics: ServerMetrics) -> None:
        self.limits = limits
        self.model: Model | None = None
        self.reason = ""
        self._folder = folder
        self._metrics = metrics
        self._in_flight = 0
        # One: a second would not be quicker on the cores there are, and work that waits can still be given up.
        self._predicting = ThreadPoolExecutor(1, "predict")
        self._loading = ThreadPoolExecutor(1, "load")
        self._exchange = asyncio.Lock()

    @property
    def state(self) -> State:
        """Return whether there is a model."""
        return State.UNAVAILABLE if self.model is None else State.READY

    async def load(self) -> Model:
        """Load what is deployed, and serve it from now on. Raises ArtefactError.

        What is refused changes nothing: the version before goes on. A server that does not verify has let go of that
        before it looked, as careless ones do.
        """
        async with self._exchange:
            if not self.limits.verify:
                self._serve(None, "loading")
            try:
                model = await asyncio.get_running_loop().run_in_executor(self._loading, self._load)
            except ArtefactError as error:
                self._metrics.loads.labels(error.fault).inc()
                self.reason = error.fault.value
                log.error("model_refused", reason=error.fault.value, kept=self._kept())  # noqa: TRY400 - the reason says all
                raise
            self._metrics.loads.labels("ok").inc()
            self._serve(model, "")
        log.info("model_loaded", version=model.version, items=len(model.items))
        return model

    async def unload(self) -> None:
        """Serve nothing until the next load."""
        async with self._exchange:
            self._serve(None, "unloaded")
        log.warning("model_unloaded")

    async def predict(self, asked: Asked, version: str | None) -> tuple[Model, Prediction]:
        """Return predictions and the model that made them. Raises RequestError."""
        model = self.served(version)
        if self._in_flight >= self.limits.max_in_flight:
            raise RequestError(
                Reason.OVERLOADED,
                f"{self._in_flight} predictions are under way; come back later",
                HTTPStatus.SERVICE_UNAVAILABLE,
            )
        ends_at = time.monotonic() + self.limits.deadline_s
        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            predicting = asyncio.get_running_loop().run_in_executor(
                self._predicting, self._predict, model, asked, ends_at
            )
            # The thread looks at the clock itself; this is for one that is kept from it.
            return model, await asyncio.wait_for(predicting, self.limits.deadline_s)
        except (GaveUpError, TimeoutError):
            raise RequestError(
                Reason.DEADLINE,
                f"no prediction within {self.limits.deadline_s} s",
                HTTPStatus.GATEWAY_TIMEOUT,
            ) from None
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)

    def served(self, version: str | None) -> Model:
        """Return the model, which must be of this version where one is named. Raises RequestError."""
        model = self.model
        if model is None:
            raise RequestError(
                Reason.UNAVAILABLE, "no model is loaded", HTTPStatus.SERVICE_UNAVAILABLE
            )
        if version is not None and version != model.version:
            raise RequestError(
                Reason.NOT_FOUND,
                f"this version is not served; {model.version} is",
                HTTPStatus.NOT_FOUND,
            )
        return model

    def close(self) -> None:
        """Let go of the threads; what they do is bounded by its deadline."""
        for pool in (self._predicting, self._loading):
            pool.shutdown(wait=False, cancel_futures=True)

    def _load(self) -> Model:
        limits = self.limits
        return load(
            self._folder, now=datetime.now(UTC), max_age=limits.max_age, verify=limits.verify
        )

    def _predict(self, model: Model, asked: Asked, ends_at: float) -> Prediction:
        units = self.limits.work_units * len(asked.histories)
        if time.monotonic() >= ends_at:
            raise GaveUpError
        work(units, lambda: time.monotonic() >= ends_at)
        return predict(model, asked)

    def _serve(self, model: Model | None, reason: str) -> None:
        self.model, self.reason = model, reason
        self._metrics.show(model)

    def _kept(self) -> str | None:
        return None if self.model is None else self.model.version
