"""Logs, as the process really writes them: each claim is checked on the output of a child process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from functools import cache
from typing import Any

import pytest

SETUP = """
import logging, warnings
import structlog
from app.core.config import load_settings
from app.core.context import RequestContext, current
from app.core.logging import configure_logging
configure_logging(load_settings())
log = structlog.get_logger(component="test")
"""


def output_of(code: str, **environment: str) -> str:
    """Run `code` after the set-up and return its standard output; nothing may go to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", SETUP + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=environment,
    )
    assert done.stderr == ""
    return done.stdout


def lines_of(code: str, **environment: str) -> list[dict[str, Any]]:
    """Run `code` and parse every line of its output as JSON."""
    return [json.loads(line) for line in output_of(code, **environment).splitlines()]


def test_a_line_has_its_keys_in_front_in_one_order() -> None:
    """Timestamp (UTC, milliseconds), level, service, component, event, then what the caller gave, flat."""
    (line,) = lines_of('log.info("video_viewed", duration_ms=3, status="success")')

    assert list(line) == [
        *("timestamp", "level", "service", "component", "event"),
        *("duration_ms", "status"),
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert (line["level"], line["service"]) == ("INFO", "social-flow-backend")
    assert (line["component"], line["event"]) == ("test", "video_viewed")


def test_lines_in_a_request_carry_its_id() -> None:
    """The correlation id needs no passing on; outside a request there is none."""
    inside, outside = lines_of(
        """
        token = current.set(RequestContext("req-1", "0af7651916cd43dd8448eb211c80319c"))
        log.info("inside")
        current.reset(token)
        log.info("outside")
        """
    )

    assert inside["correlation_id"] == "req-1"
    assert "correlation_id" not in outside


def test_lines_name_a_caller_who_is_known() -> None:
    """As soon as the request's context knows the user, its lines do, in the place that the format gives it."""
    unknown, known = lines_of(
        """
        context = RequestContext("req-1", "0af7651916cd43dd8448eb211c80319c")
        current.set(context)
        log.info("before")
        context.user_id = "550e8400-e29b-41d4-a716-446655440000"
        log.info("after", status="success")
        """
    )

    assert "user_id" not in unknown
    assert list(known)[4:] == ["event", "user_id", "correlation_id", "status"]
    assert known["user_id"] == "550e8400-e29b-41d4-a716-446655440000"


def test_the_standard_library_goes_the_same_way() -> None:
    """Lines of uvicorn, SQLAlchemy, alembic and warnings are JSON with the same keys."""
    lines = lines_of(
        """
        for name in ("uvicorn.error", "sqlalchemy.pool", "alembic.runtime.migration"):
            logging.getLogger(name).warning("told by %s", name)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.getLogger("uvicorn.access").info("GET / 200")
        """,
        PYTHONWARNINGS="default",
    )

    assert [line["component"] for line in lines] == ["uvicorn", "sqlalchemy", "alembic", "warnings"]
    assert {line["event"] for line in lines} == {"log_message"}
    assert lines[0]["message"] == "told by uvicorn.error"
    assert "DeprecationWarning: old" in lines[3]["message"]


def test_an_exception_is_structured_and_shows_no_locals() -> None:
    """Type, message and frames are there; what variables held is not."""
    (line,) = lines_of(
        """
        def login():
            password = "correct horse"
            raise ValueError("no such user")
        try:
            login()
        except ValueError:
            log.exception("login_error")
        """
    )

    assert line["level"] == "ERROR"
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert [frame["name"] for frame in line["exception"][0]["frames"]] == ["<module>", "login"]
    assert "correct horse" not in json.dumps(line)


SECRETS = {
    "a password by its key": ('password="hunter2"', "hunter2"),
    "a token by its key": ('refresh_token="opaque-value"', "opaque-value"),
    "a secret in a nested value": ('metadata={"api_key": "k-123"}', "k-123"),
    "an e-mail address": ('detail="mail to ada@example.org failed"', "ada@example.org"),
    "a user's name by its key": ('username="ada"', '"ada"'),
    "a URL's password": ('url="postgresql://app:pass-word@db/x"', "pass-word"),
    "a bearer token": ('header="Bearer abc.def-ghi"', "abc.def-ghi"),
    "a JWT": ('value="eyJhbGciOi.eyJzdWIi.c2lnbmF0"', "eyJzdWIi"),
    "a card number": ('value="4242 4242 4242 4242"', "4242 4242"),
    "a provider's key": ('value="sk_test_4eC39HqLyjWD"', "4eC39HqLyjWD"),
    "a code that is a number": ("totp=123456", "123456"),
    "a cookie by its header's name": ('headers={"set-cookie": "sid=abc"}', "sid=abc"),
    "raw bytes": ('body=b"hunter2"', "hunter2"),
}


@cache
def output_of_secrets() -> list[str]:
    """Log each of them in one process."""
    code = "\n".join(f"log.info('login', {fields})" for fields, _ in SECRETS.values())
    return output_of(code).splitlines()


@pytest.mark.parametrize("what", SECRETS)
def test_secrets_and_persons_are_removed(what: str) -> None:
    """Whoever logs it, it does not reach the output; that something was removed is shown."""
    _, secret = SECRETS[what]
    line = output_of_secrets()[list(SECRETS).index(what)]

    assert secret not in line
    assert "[redacted]" in line


def test_secrets_are_removed_from_messages_of_libraries_and_exceptions() -> None:
    """Also where the text is not ours: a driver that quotes its DSN, an error that quotes a token."""
    out = output_of(
        """
        logging.getLogger("sqlalchemy").error("cannot reach %s", "postgresql://app:pass-word@db/x")
        try:
            raise OSError("login of ada@example.org at redis://:pass-word@cache failed")
        except OSError:
            log.exception("cache_error")
        """
    )

    assert "pass-word" not in out
    assert "ada@example.org" not in out
    assert out.count("[redacted]") >= 2


def test_ids_are_not_mistaken_for_secrets() -> None:
    """UUIDs, hex ids, times and plain numbers stay as they are."""
    (line,) = lines_of(
        """
        current.set(RequestContext("4242424242424242", "4242424242424242"))
        log.info(
            "video_viewed",
            video_id="550e8400-e29b-41d4-a716-446655440000",
            duration_ms=1234,
            discarded=17,
            detail="kept 1234 of 5678 in cache",
            route="/api/v1/videos/{video_id}",
        )
        """
    )

    assert line["correlation_id"] == "4242424242424242"
    assert line["video_id"] == "550e8400-e29b-41d4-a716-446655440000"
    assert "[redacted]" not in json.dumps(line)


def test_what_is_below_the_level_is_not_written() -> None:
    """LOG_LEVEL holds for our own loggers and for the standard library's."""
    lines = lines_of(
        """
        log.info("quiet")
        logging.getLogger("uvicorn.error").info("quiet")
        log.warning("loud")
        """,
        LOG_LEVEL="WARNING",
    )

    assert [line["event"] for line in lines] == ["loud"]


def test_console_format_is_for_people() -> None:
    """One readable line, no JSON: time of day, level, event, who speaks, then what it adds; and still no secret."""
    out = output_of(
        'log.info("login", password="hunter2", attempt=3, user="ada@example.org")',
        LOG_FORMAT="console",
    )

    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} \[info +\] login +\[test\] "
        r"password=\[redacted\] attempt=3 user=\[redacted\]\n",
        out,
    )


def test_console_format_shows_exceptions_as_people_know_them() -> None:
    """A traceback, without what its message quotes."""
    out = output_of(
        """
        try:
            raise OSError("login of ada@example.org failed")
        except OSError:
            log.exception("login_error")
        """,
        LOG_FORMAT="console",
    )

    assert "Traceback (most recent call last):" in out
    assert "OSError: login of [redacted] failed" in out


UNCAUGHT = {
    "in the main thread": "raise OSError('ada@example.org')",
    "in another thread": """
        import threading
        def fail():
            raise OSError("ada@example.org")
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        """,
    "where nobody can catch it": """
        class Broken:
            def __del__(self):
                raise OSError("ada@example.org")
        Broken()
        """,
}


@pytest.mark.parametrize("where", UNCAUGHT)
def test_what_nobody_caught_is_a_line_too(where: str) -> None:
    """The interpreter would print it raw on standard error; it is one CRITICAL line with its frames."""
    done = subprocess.run(
        [sys.executable, "-c", SETUP + textwrap.dedent(UNCAUGHT[where])],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={},
    )
    [line] = [json.loads(each) for each in done.stdout.splitlines()]

    assert (line["level"], line["event"]) == ("CRITICAL", "uncaught_exception")
    assert (line["error_type"], line["exception"][0]["exc_value"]) == ("OSError", "[redacted]")
    assert "ada@example.org" not in done.stdout + done.stderr


def test_a_library_that_logs_wrongly_breaks_nothing() -> None:
    """A message that does not fit its arguments, and a level of its own, are lines; no argument is printed raw."""
    first, second, third = lines_of(
        """
        logging.getLogger("driver").warning("%d rows for %s", "hunter2")
        logging.getLogger("driver").log(35, "between two levels")
        log.info("path", path="/\\udce4/")
        """
    )

    assert first["message"] == "[message without text: TypeError]"
    assert second["level"] == "WARNING"
    assert third["path"] == "/?/"


def test_what_is_not_json_becomes_text() -> None:
    """A value of any type is logged by its text; a log line never raises."""
    (line,) = lines_of(
        """
        from uuid import UUID
        log.info("any", path=__import__("pathlib").Path("/a"), when=UUID(int=1), numbers={1: "a"})
        """
    )

    assert line["path"] == "/a"
    assert line["when"] == "00000000-0000-0000-0000-000000000001"
