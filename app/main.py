"""Builds the application: the only place where the parts meet."""

from __future__ import annotations

import asyncio
import platform
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Protocol, TypedDict

import structlog
from fastapi import FastAPI

from app.api.dependencies import Services
from app.api.methods import install_method_errors
from app.api.middleware.observability import UNCOUNTED, ObservabilityMiddleware
from app.api.middleware.protection import Protection
from app.api.middleware.route_template import UNMATCHED, RouteTemplates
from app.api.openapi import install_openapi
from app.api.v1.endpoints.health import probes
from app.api.v1.router import router
from app.core.errors import install_error_handlers
from app.core.resilience.guard import DependencyUnavailableError, Guard
from app.core.resilience.shedding import LoopLagMonitor
from app.core.security.keys import Keys
from app.core.security.passwords import Passwords
from app.core.security.tokens import Tokens
from app.infrastructure.attempt_store import AttemptStore
from app.infrastructure.broker import DEPENDENCY as BROKER
from app.infrastructure.broker import Broker, broker_guard
from app.infrastructure.cache import DEPENDENCY as CACHE
from app.infrastructure.cache import Cache, cache_guard, classify_redis
from app.infrastructure.database import DEPENDENCY as DATABASE
from app.infrastructure.database import Database, classify_database, database_guard
from app.infrastructure.live_origin import DEPENDENCY as LIVE_ORIGIN
from app.infrastructure.live_origin import LiveOrigin, classify_live, live_origin_guard
from app.infrastructure.object_store import DEPENDENCY as OBJECT_STORE
from app.infrastructure.object_store import ObjectStore, classify_s3, object_store_guard
from app.services.accounts import AccountService
from app.services.auth import AuthService
from app.services.channels import Channels
from app.services.gone import Gone
from app.services.health import Dependency, HealthChecker
from app.services.live import LiveService
from app.services.login_limits import LoginLimits
from app.services.own_videos import OwnVideos
from app.services.recordings import Recorder
from app.services.sessions import Sessions
from app.services.storage import StorageService
from app.services.streaming import StreamingService
from app.services.two_factor import TwoFactor
from app.services.upload import UploadService
from app.services.users import Users
from app.services.video import VideoService
from app.services.views import Views
from app.worker.local import local_work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.core.config import Settings
    from app.core.metrics import Metrics

TITLE = "Social Flow"
SHUTDOWN_STEP_S = 1.0

log = structlog.get_logger(component="app")


@dataclass(frozen=True, slots=True)
class _Infrastructure:
    """What leads out of the process."""

    database: Database
    database_guard: Guard
    cache: Cache
    cache_guard: Guard
    store: ObjectStore
    store_guard: Guard
    broker: Broker
    broker_guard: Guard
    live: LiveOrigin
    live_guard: Guard
    attempts: AttemptStore | None

    @property
    def to_close(self) -> tuple[_Closable, ...]:
        """Return what holds connections."""
        attempts = (self.attempts,) if self.attempts is not None else ()
        return (self.database, self.cache, self.store, self.broker, self.live, *attempts)


class _Closable(Protocol):
    async def close(self) -> None: ...


class _Videos(TypedDict):
    """The services around videos, under the names that `Services` has for them."""

    videos: VideoService
    own_videos: OwnVideos
    views: Views
    streaming: StreamingService


class _Accounts(TypedDict):
    """The services around accounts, under the names that `Services` has for them."""

    accounts: AccountService
    auth: AuthService
    sessions: Sessions
    two_factor: TwoFactor
    tokens: Tokens


def create_app(settings: Settings, metrics: Metrics) -> FastAPI:
    """Build the application. Nothing connects before its lifespan begins."""
    app = FastAPI(
        title=TITLE,
        version=_version(),
        description="A video platform's backend.",
        lifespan=_lifespan,
        # It would lead to the host that the caller named.
        redirect_slashes=False,
        # The middleware does this work, and with outcomes; twice would cost each request twice.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.settings = settings
    app.state.metrics = metrics
    app.include_router(probes)
    app.include_router(router)
    install_error_handlers(app)
    install_openapi(app)
    templates = RouteTemplates(app)
    install_method_errors(app, templates)
    protection = Protection.of(settings, metrics)
    app.state.lag_monitor = LoopLagMonitor(protection.shedder, metrics)
    if protection.with_cors is not None:
        app.add_middleware(protection.with_cors)
    app.add_middleware(
        ObservabilityMiddleware,
        templates=templates,
        metrics=metrics,
        deadline_s=settings.request_deadline_s,
        protection=protection,
    )
    metrics.add_routes((m, route) for m, route in templates.all() if route not in UNCOUNTED)
    metrics.add_routes([("GET", UNMATCHED)])
    metrics.build_info.labels(app.version, platform.python_version()).set(1)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect, serve, let go. What was opened last is closed first."""
    settings: Settings = app.state.settings
    metrics: Metrics = app.state.metrics
    async with AsyncExitStack() as stack:
        parts = _infrastructure(settings, metrics)
        for part in parts.to_close:
            stack.push_async_callback(part.close)
        storage = StorageService(settings, parts.store, metrics)
        stack.push_async_callback(storage.close)
        health = await stack.enter_async_context(
            HealthChecker(
                _dependencies(settings, parts),
                metrics,
                interval_s=settings.health_check_interval_s,
            )
        )
        passwords = Passwords(metrics)
        stack.push_async_callback(passwords.close)
        uploads = UploadService(settings, parts.database, storage, metrics)
        stack.push_async_callback(uploads.close)
        tasks = local_work(settings, parts.database, storage, parts.broker_guard, metrics)
        app.state.services = Services(
            tasks=await stack.enter_async_context(tasks),
            storage=storage,
            health=health,
            uploads=uploads,
            live=await stack.enter_async_context(_live(settings, parts, uploads, metrics)),
            **_videos(parts, metrics),
            **_accounts(settings, parts, passwords, metrics),
        )
        warming = asyncio.create_task(_warm(parts.database), name="warm the database pool")
        stack.push_async_callback(_end, warming)
        sweeping = asyncio.create_task(uploads.incoming.keep_swept(), name="sweep uploads")
        stack.callback(sweeping.cancel)
        await stack.enter_async_context(app.state.lag_monitor)
        log.info("app_started", version=app.version, environment=settings.environment)
        yield
        log.info("app_stopping")


@asynccontextmanager
async def _live(
    settings: Settings, parts: _Infrastructure, uploads: UploadService, metrics: Metrics
) -> AsyncIterator[LiveService]:
    channels, enabled = Channels(parts.database), settings.feature_live_enabled
    recorder = Recorder(channels, parts.live, uploads, metrics, enabled=enabled)
    async with recorder:
        yield LiveService(channels, parts.live, recorder, metrics, enabled=enabled)


def _videos(parts: _Infrastructure, metrics: Metrics) -> _Videos:
    gone = Gone()
    videos = VideoService(parts.database, parts.cache, gone)
    return {
        "videos": videos,
        "own_videos": OwnVideos(parts.database, videos),
        "views": Views(parts.database, metrics),
        "streaming": StreamingService(parts.database, parts.cache, gone),
    }


def _accounts(
    settings: Settings, parts: _Infrastructure, passwords: Passwords, metrics: Metrics
) -> _Accounts:
    keys = Keys.of(settings)
    tokens = Tokens(keys)
    users = Users(parts.database)
    limits = LoginLimits(parts.attempts, keys, metrics)
    codes = settings.feature_2fa_enabled
    sessions = Sessions(parts.database, keys, tokens, metrics, two_factor_enabled=codes)
    two_factor = TwoFactor(
        database=parts.database,
        users=users,
        keys=keys,
        passwords=passwords,
        limits=limits,
        metrics=metrics,
        enabled=codes,
    )
    auth = AuthService(
        database=parts.database,
        users=users,
        sessions=sessions,
        two_factor=two_factor,
        passwords=passwords,
        limits=limits,
        tokens=tokens,
        keys=keys,
        metrics=metrics,
    )
    return {
        "accounts": AccountService(parts.database, users, passwords, limits, metrics),
        "auth": auth,
        "sessions": sessions,
        "two_factor": two_factor,
        "tokens": tokens,
    }


def _infrastructure(settings: Settings, metrics: Metrics) -> _Infrastructure:
    for_database, for_cache, for_store, for_live = (
        database_guard(metrics),
        cache_guard(metrics),
        object_store_guard(metrics),
        live_origin_guard(metrics),
    )
    return _Infrastructure(
        database=Database(settings.database_url.get_secret_value(), for_database, metrics),
        database_guard=for_database,
        cache=Cache(
            settings.redis_url.get_secret_value(),
            for_cache,
            metrics,
            enabled=settings.feature_redis_enabled,
        ),
        cache_guard=for_cache,
        store=ObjectStore(settings, for_store, metrics),
        store_guard=for_store,
        broker=Broker(settings.broker_url.get_secret_value()),
        broker_guard=broker_guard(metrics),
        live=LiveOrigin(settings, for_live, metrics),
        live_guard=for_live,
        attempts=(
            AttemptStore(settings.redis_url.get_secret_value(), for_cache)
            if settings.feature_redis_enabled
            else None
        ),
    )


def _dependencies(settings: Settings, parts: _Infrastructure) -> list[Dependency]:
    """Say what is watched. Only PostgreSQL has no fallback, so only it is critical."""
    return [
        Dependency(
            DATABASE,
            parts.database.ping,
            classify_database,
            critical=True,
            breaker=parts.database_guard.breaker,
        ),
        Dependency(
            CACHE,
            parts.cache.ping,
            classify_redis,
            enabled=settings.feature_redis_enabled,
            breaker=parts.cache_guard.breaker,
        ),
        Dependency(
            BROKER,
            parts.broker.ping,
            classify_redis,
            enabled=settings.feature_celery_enabled,
            breaker=parts.broker_guard.breaker,
        ),
        Dependency(
            OBJECT_STORE,
            parts.store.ping,
            classify_s3,
            enabled=settings.feature_s3_enabled,
            breaker=parts.store_guard.breaker,
        ),
        Dependency(
            LIVE_ORIGIN,
            parts.live.ping,
            classify_live,
            enabled=settings.feature_live_enabled,
            breaker=parts.live_guard.breaker,
        ),
    ]


async def _warm(database: Database) -> None:
    """Open the pool beside the first requests. A database that is away now is the health check's news."""
    try:
        await database.warm()
    except (DependencyUnavailableError, OSError, TimeoutError) as error:
        log.debug("warm_up_failed", error_type=type(error).__name__)


async def _end(task: asyncio.Task[None]) -> None:
    """Wait until a task has ended and let go of what it held; cancel it when that takes too long."""
    await asyncio.wait([task], timeout=SHUTDOWN_STEP_S)
    task.cancel()


def _version() -> str:
    try:
        return version("social-flow-chaosbed")
    except PackageNotFoundError:
        return "0"
