"""Structured logs: one JSON line an event on standard output, the standard library's loggers included.

Keys that every line has: `timestamp level service component event`; inside a request also `correlation_id`. What looks
like a secret or a person is removed before a line is rendered, whoever logged it.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

from app.core.context import current

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, Processor, WrappedLogger

    from app.core.config import Settings

SERVICE = "social-flow-backend"
REDACTED = "[redacted]"

_FIRST_KEYS = ("timestamp", "level", "service", "component", "event")
# Written by this module or validated where they came in; hex ids must not be mistaken for card numbers.
_SAFE_KEYS = frozenset((*_FIRST_KEYS[:-1], "correlation_id", "trace_id"))
_SECRET_KEYS = re.compile(
    r"(?:^|[_.-])(?:passw(?:or)?d|secret|token|authorization|cookie|api_?key|dsn|t?otp|recovery_code"
    r"|card|cvc|iban|e?_?mail|username|ip_address|user_agent)s?(?:$|[_.-])",
    re.IGNORECASE,
)
# Each pattern is tried only on texts that contain its hint: nearly all are short names and ids.
_SECRET_VALUES = (
    ("://", re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]*(?=@)"), REDACTED),  # user:password of a URL
    (" ", re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), rf"\1 {REDACTED}"),
    ("eyJ", re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), REDACTED),  # a JWT
    ("@", re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), REDACTED),  # an e-mail address
    ("k_", re.compile(r"\b[spr]k_\w{8,}"), REDACTED),  # a payment provider's key
    ("whsec_", re.compile(r"\bwhsec_\w{8,}"), REDACTED),
)
_CARD_DIGITS = 13  # the shortest card number
_CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")


def configure_logging(settings: Settings) -> None:
    """Send every log of the process through one pipeline. Safe to call again (tests do)."""
    level = getattr(logging, settings.log_level)
    console = settings.log_format == "console"
    structlog.reset_defaults()
    structlog.configure(
        processors=[*_shared_processors(), *(_console() if console else _json())],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=(
            structlog.PrintLoggerFactory(sys.stdout)
            if console
            else structlog.BytesLoggerFactory(sys.stdout.buffer)
        ),
        cache_logger_on_first_use=True,
    )
    _bridge_standard_library(level)


def _shared_processors() -> list[Processor]:
    return [add_request, add_basics, redact]


def _json() -> list[Processor]:
    # Locals of a frame may hold anything, so they never reach a log.
    transform = ExceptionDictTransformer(show_locals=False, max_frames=30)
    return [structlog.processors.ExceptionRenderer(transform), redact_exception, render_json]


def _console() -> list[Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]


def add_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the id of the request that is being served."""
    context = current.get()
    if context is not None:
        event.setdefault("correlation_id", context.correlation_id)
    return event


def add_basics(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Put the keys that every line has in front, in one order."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    out: EventDict = {
        "timestamp": f"{now[:-6]}Z",
        "level": _LEVEL_NAMES.get(method, method.upper()),
        "service": SERVICE,
        "component": event.pop("component", "app"),
        "event": event.pop("event", ""),
    }
    out.update(event)
    return out


_LEVEL_NAMES = {"exception": "ERROR", "warn": "WARNING", "fatal": "CRITICAL"}


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Remove what looks like a secret or a person, by key and by value."""
    for key, value in event.items():
        if key not in _SAFE_KEYS:
            event[key] = _clean(key, value)
    return event


def redact_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Do the same to a rendered exception, whose message may quote anything."""
    if "exception" in event:
        event["exception"] = _clean("exception", event["exception"])
    return event


def _clean(key: str, value: object) -> object:
    if value is None or isinstance(value, bool):
        return value
    if _is_secret(key) or isinstance(value, bytes):
        return REDACTED
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, dict):
        return {k: _clean(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(key, each) for each in value]
    return value


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return _SECRET_KEYS.search(key) is not None


def _clean_text(text: str) -> str:
    for hint, pattern, replacement in _SECRET_VALUES:
        if hint in text:
            text = pattern.sub(replacement, text)
    if len(text) >= _CARD_DIGITS:
        text = _CARD.sub(lambda m: REDACTED if _luhn(m[0]) else m[0], text)
    return text


def _luhn(number: str) -> bool:
    """Whether the check digit fits: true for each card number, for one in ten of other numbers."""
    digits = [int(d) for d in number if d.isdecimal()][::-1]
    doubled = (sum(divmod(2 * d, 10)) for d in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    """Render straight to bytes; what is not JSON becomes its text."""
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)


class BridgeHandler(logging.Handler):
    """Hands records of the standard library (uvicorn, sqlalchemy, alembic, warnings) to structlog."""

    def __init__(self, log: Callable[[], Any] = structlog.get_logger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as event `log_message`, under the first part of its logger's name."""
        try:
            fields: dict[str, Any] = {
                "component": record.name.removeprefix("py.").partition(".")[0],
                "logger": record.name,
                "message": record.getMessage(),
            }
            if record.exc_info:
                fields["exc_info"] = record.exc_info
            self._log().log(record.levelno, "log_message", **fields)
        except Exception:  # noqa: BLE001 - a log line must never break who logs
            self.handleError(record)


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
