"""Structured logs: one JSON line an event on standard output, the standard library's loggers included.

Keys that every line has: `timestamp level service component event`; inside a request also `correlation_id` and, once
the caller is known, `user_id`. What looks like a secret or a person is removed before a line is rendered, whoever
logged it (`app.core.redaction`). `compose/logs/log-line.schema.json` is the format's specification.

All of it is one processor and not a chain: the access line is on every request's way, and each link of a chain copies
and walks the event once more.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

from app.core.context import current
from app.core.redaction import clean_name, clean_text, cleaner_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from structlog.typing import EventDict, Processor, WrappedLogger

    from app.core.config import Settings
    from app.core.context import RequestContext

SERVICE = "social-flow-backend"
_LEVEL_NAMES = {
    **{name: name.upper() for name in ("debug", "info", "warning", "error", "critical")},
    "exception": "ERROR",
    "warn": "WARNING",
    "fatal": "CRITICAL",
}


def configure_logging(settings: Settings) -> None:
    """Send every log of the process through one pipeline. Safe to call again (tests do)."""
    level = getattr(logging, settings.log_level)
    console = settings.log_format == "console"
    processors = _console() if console else [*_LINES]
    _OUTPUT.pipeline = processors if level <= logging.INFO else []
    structlog.reset_defaults()
    structlog.configure(
        processors=processors,
        wrapper_class=_line_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stdout) if console else _OUTPUT,
        cache_logger_on_first_use=True,
    )
    _bridge_standard_library(level)
    _bridge_last_words()


class Output:
    """Standard output, one whole line at a time, from whichever thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.pipeline: list[Processor] = []
        """What makes lines of what is at least INFO; a test that listens in has put itself there."""

    def msg(self, line: bytes) -> None:
        """Write a line, which ends as lines do; it is out when this returns."""
        with self._lock:
            out = sys.stdout.buffer
            out.write(line)
            out.flush()


_OUTPUT = Output()


# Words without digits, the version, and ids: the paths that clients really ask for, in which nothing can hide.
_PLAIN_PATH = re.compile(
    r"(?:/(?:[a-z]{1,20}|v1|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})){1,8}"
)


def write_request(  # noqa: PLR0917 - one parameter a key; names would cost each request
    context: RequestContext,
    method: str,
    path: str,
    status_code: int,
    outcome: str,
    duration_ms: float,
) -> bool:
    """Write the line of a request without trouble, as `log.info("http_request", ...)` would, at half the cost.

    Every request has one, and most of what the general way does is settled here: which keys there are, and that all
    but path and method are ours. Returns False when the general way must be taken.
    """
    if _OUTPUT.pipeline != _LINES:
        return False
    line: dict[str, object] = {
        "timestamp": _timestamp(time.time()),
        "level": "INFO",
        "service": SERVICE,
        "component": "api",
        "event": "http_request",
    }
    if context.user_id is not None:
        line["user_id"] = context.user_id
    line["correlation_id"] = context.correlation_id
    line["route"] = context.route
    line["method"] = clean_name(method)
    line["path"] = path if _PLAIN_PATH.fullmatch(path) else clean_text(path)
    line["status_code"] = status_code
    line["outcome"] = outcome
    line["duration_ms"] = duration_ms
    _OUTPUT.msg(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    return True


def _line_logger(level: int) -> type[structlog.typing.FilteringBoundLogger]:
    """Return structlog's logger of what is at least `level`, with a shorter way from the call to the line."""

    class LineLogger(structlog.make_filtering_bound_logger(level)):  # type: ignore[misc]
        def _proxy_to_logger(
            self, method_name: str, event: str | None = None, **event_kw: object
        ) -> None:
            line: Any = {**self._context, **event_kw, "event": event}
            try:
                for process in self._processors:
                    line = process(self._logger, method_name, line)
            except structlog.DropEvent:
                return
            self._logger.msg(line)

    return LineLogger


def _console() -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(),
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [for_people, renderer]


# Locals of a frame may hold anything, so they never reach a log.
_exception_as_data = structlog.processors.ExceptionRenderer(
    ExceptionDictTransformer(show_locals=False, max_frames=30)
)


def compose(method: str, event: EventDict) -> EventDict:
    """Return the line: first the keys that every line has, in one order, then what the caller gave, cleaned."""
    out: EventDict = {
        "timestamp": _timestamp(time.time()),
        "level": _LEVEL_NAMES.get(method) or method.upper(),
        "service": SERVICE,
        "component": event.pop("component", "app"),
        "event": clean_name(str(event.pop("event", ""))),
    }
    context = current.get()
    if context is not None:
        if context.user_id is not None:
            out["user_id"] = context.user_id
        out["correlation_id"] = context.correlation_id
    for key, value in event.items():
        out[key] = cleaner_of(key)(value)
    return out


def _timestamp(now: float) -> str:
    """Return the time in UTC, in RFC 3339 with milliseconds."""
    milliseconds = int(now * 1000)
    second = milliseconds // 1000
    # Read and written as a pair in one step each, since other threads log too.
    number, text = _last_second[0]
    if second != number:
        text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        _last_second[0] = (second, text)
    return f"{text}{milliseconds % 1000:03d}Z"


_last_second = [(-1, "")]


def render_line(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
    """Render one event straight to the bytes of its line. Nothing but plain data, already cleaned, is rendered."""
    if event.get("exc_info"):
        event = _exception_as_data(logger, method, event)
    return orjson.dumps(
        compose(method, event), option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
    )


_LINES: list[Processor] = [render_line]


def for_people(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Return the line as the console shows it: without what is alike on every line, exceptions as text."""
    if event.get("exc_info"):
        event = structlog.processors.format_exc_info(logger, method, event)
    line = compose(method, event)
    del line["service"]
    return {
        "timestamp": line.pop("timestamp")[11:-1],
        "level": line.pop("level").lower(),
        "logger": line.pop("component"),
        **line,
    }


class BridgeHandler(logging.Handler):
    """Hands records of the standard library (uvicorn, sqlalchemy, alembic, warnings) to structlog."""

    def __init__(self, log: Callable[[], Any] = structlog.get_logger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as event `log_message`, under the first part of its logger's name."""
        fields: dict[str, Any] = {
            "component": record.name.removeprefix("py.").partition(".")[0],
            "logger": record.name,
        }
        try:
            fields["message"] = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a log line must never break who logs
            # The usual way, a traceback with the arguments on standard error, would go round the redaction.
            fields["message"] = f"[message without text: {type(error).__name__}]"
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        # Levels between the usual ones count as the one below.
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        self._log().log(level, "log_message", **fields)


def _bridge_standard_library(level: int) -> None:
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers[:] = [BridgeHandler()]
    root.setLevel(level)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # The middleware writes the access log, with route template and outcome.
    logging.getLogger("uvicorn.access").disabled = True
    # These tell at INFO what the metrics tell better.
    for chatty in ("sqlalchemy.engine", "sqlalchemy.pool", "urllib3", "asyncio"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


def _bridge_last_words() -> None:
    """Log what nobody caught, too: the interpreter would print it as it is, with whatever the message quotes."""
    log = structlog.get_logger(component="app")

    def uncaught(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        log.critical("uncaught_exception", error_type=kind.__name__, exc_info=(kind, error, trace))

    def uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None:
            uncaught(told.exc_type, told.exc_value, told.exc_traceback)

    def unraisable(told: sys.UnraisableHookArgs) -> None:
        if told.exc_value is not None:
            uncaught(told.exc_type, told.exc_value, told.exc_traceback)

    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread
    sys.unraisablehook = unraisable
