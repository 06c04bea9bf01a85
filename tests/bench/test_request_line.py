"""The line of a request has a quick way of its own; nobody who reads it can tell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.core.config import Settings
from app.core.context import RequestContext, current
from app.core.logging import Output, configure_logging, write_request

if TYPE_CHECKING:
    from collections.abc import Iterator

PATHS = st.one_of(
    st.text(max_size=200),
    st.sampled_from(
        [
            "/api/v1/videos/cab6c15f-6625-5469-9bd0-06e4614b739a",
            "/reset/eyJhbGciOiJI.eyJzdWIi.c2ln",
            "/users/ann@socialflow.example",
            "/pay/4242424242424242",
        ]
    ),
)
FIELDS = st.fixed_dictionaries(
    {
        "method": st.one_of(st.sampled_from(["GET", "POST"]), st.text(max_size=20)),
        "path": PATHS,
        "status_code": st.integers(100, 599),
        "outcome": st.sampled_from(["ok", "error"]),
        "duration_ms": st.floats(0, 10_000).map(lambda ms: round(ms, 2)),
    }
)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The lines that are written; afterwards logging is as it is before anybody configures it."""
    lines: list[bytes] = []
    monkeypatch.setattr(Output, "msg", lambda _self, line: lines.append(line))
    yield lines
    structlog.reset_defaults()


def request_of_somebody() -> RequestContext:
    """Build a context as it is at the end of a request."""
    context = RequestContext("c" * 32, "t" * 32)
    context.route, context.user_id = "/api/v1/videos/{video_id}", "5f0c"
    return context


def test_both_ways_write_the_same_line(written: list[bytes]) -> None:
    """Whatever a caller put into path and method: what is hidden by one is hidden by the other."""
    configure_logging(Settings())
    context = request_of_somebody()
    log = structlog.get_logger(component="api")
    token = current.set(context)

    @given(FIELDS)
    def same(fields: dict[str, Any]) -> None:
        assert write_request(context, **fields)
        log.info("http_request", route=context.route, **fields)
        quick, general = map(json.loads, written)
        written.clear()
        quick["timestamp"] = general["timestamp"]
        assert quick == general

    try:
        same()
    finally:
        current.reset(token)


FINE = {"method": "GET", "path": "/", "status_code": 200, "outcome": "ok", "duration_ms": 1.0}


@pytest.mark.parametrize("changes", [{"log_level": "WARNING"}, {"log_format": "console"}])
def test_other_formats_and_levels_take_the_general_way(
    written: list[bytes], changes: dict[str, str]
) -> None:
    """The quick way knows one format and one level, and says so otherwise."""
    configure_logging(Settings.model_validate(changes))

    assert not write_request(request_of_somebody(), **FINE)  # type: ignore[arg-type]
    assert written == []


def test_who_listens_in_hears_requests_too(written: list[bytes]) -> None:
    """While a test captures logs, requests take the way on which it listens."""
    configure_logging(Settings())

    with capture_logs():
        assert not write_request(request_of_somebody(), **FINE)  # type: ignore[arg-type]
    assert write_request(request_of_somebody(), **FINE)  # type: ignore[arg-type]
