"""The log of a real run: every line is of the format, and nothing that was secret or personal stands in it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyotp
import pytest

from tests.app.log_lines import VALIDATOR, checked_lines, found_in
from tests.app.system import ONE_SHOTS, run_module
from tests.app.test_process import DETAIL, STOPPED_WITHIN_S, backend

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.app.servers import Server
    from tests.app.system import System
    from tests.app.test_process import Backend

USERNAME = "quokka-watcher"
EMAIL = "quokka.watcher@rottnest.example"
PASSWORD = "Wadjemup-lighthouse-1849"  # noqa: S105 - of an account that lives for one test
WRONG_PASSWORD = "Bathurst-lighthouse-1900"  # noqa: S105 - of nobody
ADDRESSES = ("203.0.113.77", "2001:db8::77:1", "127.0.0.1")
BEARER = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJxdW9ra2EifQ.c2lnbmF0dXJl"
SEEN_WITHIN_S = 10.0
STEP_S = 30
CODE_USED_WITHIN_S = 5.0
API = "/api/v1"

Json = dict[str, Any]


@dataclass
class Client:
    """Somebody at the backend, who remembers all that must not be told."""

    running: Backend
    secrets: set[str] = field(
        default_factory=lambda: {USERNAME, EMAIL, PASSWORD, WRONG_PASSWORD, BEARER, *ADDRESSES}
    )

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        **headers: str,
    ) -> tuple[int, Json]:
        """Send a request and return status and body; what the answer holds of secrets is remembered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.running.port, timeout=5)
        content = None if body is None else json.dumps(body)
        sent = {
            "User-Agent": f"mail {EMAIL} at {ADDRESSES[0]}",
            "X-Forwarded-For": ", ".join(ADDRESSES),
            "Cookie": f"session={PASSWORD}",
            **({"Content-Type": "application/json"} if content else {}),
            **({"Authorization": f"Bearer {token}"} if token else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        try:
            connection.request(method, path, content, sent)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        is_json = "json" in (answer.getheader("Content-Type") or "")
        told: Json = json.loads(text) if is_json and text else {}
        self._remember(told)
        return answer.status, told

    def _remember(self, told: object) -> None:
        if not isinstance(told, dict):
            return
        for key, value in told.items():
            if key in {"access_token", "refresh_token", "challenge", "secret", "provisioning_uri"}:
                self.secrets.add(str(value))
            if key == "recovery_codes":
                self.secrets.update(value)
            self._remember(value)

    def code(self, secret: str, steps: int) -> str:
        """Return the code of the step that is `steps` from now, early enough in the step of now to be used in it."""
        while time.time() % STEP_S > STEP_S - CODE_USED_WITHIN_S:
            time.sleep(0.1)
        code = str(pyotp.TOTP(secret).at(int(time.time()) + STEP_S * steps))
        self.secrets.add(code)
        return code


@pytest.fixture(scope="module")
def run(system: System, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, set[str]]:
    """Return the output of a backend that has seen everything, and what of it must not be told."""
    with backend(system, tmp_path_factory.mktemp("log"), LOG_LEVEL="DEBUG") as running:
        client = Client(running)
        _watch_videos(client)
        _send_nonsense(client)
        _use_an_account(client)
        _lose(system.valkey, client, "redis-cache")
        _lose(system.postgres, client, "postgres")
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(STOPPED_WITHIN_S) == 0
    return running.log_file.read_text(), client.secrets


def _watch_videos(client: Client) -> None:
    for path in (DETAIL, f"{API}/videos?limit=3", f"{API}/videos/trending", f"{DETAIL}/thumbnail"):
        assert client.ask("GET", path)[0] == 200
    assert client.ask("GET", f"{API}/videos/00000000-0000-0000-0000-000000000000")[0] == 404
    assert client.ask("GET", f"{API}/videos/{EMAIL}")[0] == 422
    assert client.ask("GET", f"/{EMAIL}/{ADDRESSES[0]}/123456/%5B{ADDRESSES[1]}%5D")[0] == 404
    assert client.ask("GET", f"{API}/videos?password={PASSWORD}&limit=many")[0] == 422
    assert client.ask("PUT", DETAIL)[0] == 405
    assert client.ask("BREW", DETAIL, token=BEARER)[0] == 400
    assert client.ask("PURGE", DETAIL, token=BEARER)[0] == 405


def _send_nonsense(client: Client) -> None:
    """Send what is no HTTP, what has hostile ids, and what is no text."""
    client.ask("GET", DETAIL, X_Request_ID=f"{EMAIL} {PASSWORD}")
    client.ask("GET", DETAIL, traceparent=f"00-{PASSWORD}")
    client.ask("GET", "/%ff%fe%00%0a%0d%ed%a0%80")
    for raw in (
        f"GET / HTTP/1.1\r\nNo colon {PASSWORD}\r\n\r\n",
        f"{EMAIL}\r\n\r\n",
        f"GET /{'a' * 70_000} HTTP/1.1\r\n\r\n",
        f"POST {API}/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: {PASSWORD}\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", client.running.port), timeout=5) as peer:
            peer.sendall(raw.encode())
            peer.shutdown(socket.SHUT_WR)
            peer.recv(1024)


def _use_an_account(client: Client) -> None:
    ask = client.ask
    account = {"username": USERNAME, "email": EMAIL, "password": PASSWORD}
    assert ask("POST", f"{API}/auth/register", account)[0] == 201
    assert ask("POST", f"{API}/auth/register", account)[0] == 409
    assert ask("POST", f"{API}/auth/register", {**account, "password": 5})[0] == 422
    assert _login(client, password=WRONG_PASSWORD)[0] == 401
    assert _login(client, username="nobody-of-this-name")[0] == 401
    client.secrets.add("nobody-of-this-name")
    tokens = _login(client)[1]["tokens"]
    access = tokens["access_token"]
    assert ask("GET", f"{API}/auth/me", token=access)[0] == 200
    assert ask("GET", f"{API}/auth/me", token=BEARER)[0] == 401
    assert ask("GET", f"{API}/admin/users", token=access)[0] == 403
    refresh = {"refresh_token": tokens["refresh_token"]}
    assert ask("POST", f"{API}/auth/refresh", refresh)[0] == 200
    assert ask("POST", f"{API}/auth/refresh", refresh)[0] == 401
    _use_two_factors(client)


def _use_two_factors(client: Client) -> None:
    ask = client.ask
    access = _login(client)[1]["tokens"]["access_token"]
    status, enrolment = ask("POST", f"{API}/auth/2fa/enrol", {"password": PASSWORD}, token=access)
    assert status == 201
    secret = enrolment["secret"]
    first = client.code(secret, -1)
    status, confirmed = ask("POST", f"{API}/auth/2fa/confirm", {"code": first}, token=access)
    assert status == 200
    assert _login(client)[1]["status"] == "code_required"
    challenge = _login(client)[1]["challenge"]
    by_challenge = {"challenge": challenge, "code": client.code(secret, 0)}
    status, tokens = ask("POST", f"{API}/auth/login/code", by_challenge)
    assert status == 200
    assert ask("POST", f"{API}/auth/login/code", by_challenge)[0] == 401
    recovery = confirmed["recovery_codes"][0]
    assert _login(client, code=recovery)[1]["status"] == "authenticated"
    disable = {"password": PASSWORD, "code": client.code(secret, 1)}
    status, _ = ask("POST", f"{API}/auth/2fa/disable", disable, token=tokens["access_token"])
    assert status == 204
    assert ask("POST", f"{API}/auth/logout", {"refresh_token": tokens["refresh_token"]})[0] == 204
    # Until the account is locked.
    attempts = [_login(client, password=WRONG_PASSWORD)[0] for _ in range(6)]
    assert attempts[-1] == 429


def _login(client: Client, **changes: str) -> tuple[int, Json]:
    return client.ask(
        "POST", f"{API}/auth/login", {"username": USERNAME, "password": PASSWORD, **changes}
    )


def _lose(server: Server, client: Client, dependency: str) -> None:
    """Kill a server, use the backend until it has noticed, start the server and wait for the recovery."""

    def use() -> None:
        client.ask("GET", f"{DETAIL}?fresh={os.urandom(4).hex()}")
        client.ask("GET", f"{API}/videos?limit=7")
        _login(client)

    server.kill()
    try:
        _until(client, f'"event":"health_check_failed","dependency":"{dependency}"', use)
        _until(client, f'"event":"breaker_opened","breaker":"{dependency}"', use)
    finally:
        server.start()
    _until(client, f'"event":"health_check_recovered","dependency":"{dependency}"', use)


def _until(client: Client, words: str, use: Callable[[], None]) -> None:
    ends_at = time.monotonic() + SEEN_WITHIN_S
    while words not in _without_ids(client.running.log_file.read_text()):
        assert time.monotonic() < ends_at, f"never logged: {words}"
        use()


def _without_ids(text: str) -> str:
    """Return the log with the keys that stand between an event's name and what it adds taken out."""
    lines = []
    for written in text.splitlines():
        line = json.loads(written)
        lines.append(
            json.dumps(
                {k: v for k, v in line.items() if k not in {"user_id", "correlation_id"}},
                separators=(",", ":"),
            )
        )
    return "\n".join(lines)


def test_every_line_of_a_run_is_of_the_format(run: tuple[str, set[str]]) -> None:
    """Whoever spoke, ours or a library, in health and in failure: JSON, one event a line, with the right keys."""
    lines = checked_lines(run[0])

    assert len(lines) > 60
    assert {line["component"] for line in lines} >= {"app", "api", "auth", "health", "uvicorn"}
    assert {line["level"] for line in lines} >= {"DEBUG", "INFO", "WARNING", "ERROR"}


@pytest.mark.parametrize(
    "event",
    [
        *("app_started", "app_stopping", "http_request", "log_message"),
        *("health_check_failed", "health_check_recovered", "breaker_opened", "breaker_closed"),
        *("user_registered", "login_success", "login_failed", "account_locked", "access_denied"),
        *("token_refreshed", "token_reuse_detected", "logout"),
        *("two_factor_enrolled", "two_factor_confirmed", "two_factor_disabled"),
        "recovery_code_used",
    ],
)
def test_the_run_has_told_of_each_event(run: tuple[str, set[str]], event: str) -> None:
    """The two claims about its output are about something: each kind of event is in it."""
    assert event in {line["event"] for line in checked_lines(run[0])}


def test_a_caller_who_is_known_is_named_by_id_alone(run: tuple[str, set[str]]) -> None:
    """Lines of a request with a valid access token carry `user_id`, the access line too; others do not."""
    lines = [line for line in checked_lines(run[0]) if line["event"] == "http_request"]
    by_route = {(line.get("route"), line["status_code"]): line for line in lines}

    assert "user_id" in by_route[f"{API}/auth/me", 200]
    assert "user_id" not in by_route[f"{API}/auth/me", 401]


def test_nothing_secret_or_personal_is_in_the_output(run: tuple[str, set[str]]) -> None:
    """No password, token, code, secret, e-mail address, user name or IP address of the whole run is found."""
    text, secrets = run

    assert len(secrets) > 25
    assert found_in(text, secrets) == []
    assert "socialflow:socialflow" not in text
    assert found_in(f"x {PASSWORD}", secrets) == [PASSWORD]


def test_one_shots_log_in_the_same_format(system: System) -> None:
    """Migrations, the bucket and the seed write lines of the format too, alembic's own among them."""
    for arguments in ONE_SHOTS:
        done = run_module({**system.environment, "LOG_LEVEL": "INFO"}, *arguments)
        lines = checked_lines(done.stdout + done.stderr)

        assert done.returncode == 0
        assert lines
        assert found_in(done.stdout, {"127.0.0.1", "socialflow-demo-password"}) == []
        if arguments[0] == "alembic":
            assert "alembic" in {line["component"] for line in lines}
            assert lines[-1]["event"] == "migrations_done"


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"timestamp": "2026-11-24 13:00:00"}, "timestamp"),
        ({"level": "info"}, "level"),
        ({"event": "Something happened"}, "event"),
        ({"status": 200}, "status"),
        ({"status_code": "200"}, "status_code"),
        ({"user_id": "ada"}, "user_id"),
        ({"correlation_id": "a b"}, "correlation_id"),
        ({"password": "[redacted]"}, "password"),
        ({"new_refresh_token": "x"}, "new_refresh_token"),
        ({"recovery_codes": []}, "recovery_codes"),
        ({"client_ip": "x"}, "client_ip"),
        ({"metadata": {"email": "x"}}, "email"),
        ({"metadata": "x"}, "metadata"),
    ],
)
def test_the_format_refuses(change: Json, wrong: str) -> None:
    """The specification is no formality: wrong forms and forbidden names do not pass."""
    line = {
        "timestamp": "2026-11-24T13:00:00.000Z",
        "level": "INFO",
        "service": "social-flow-backend",
        "component": "auth",
        "event": "login_success",
        "status": "success",
        "status_code": 200,
        "metadata": {"attempt": 1},
        "exit_code": 0,
    }
    assert not list(VALIDATOR.iter_errors(line))
    problems = [
        f"{error.json_path} {error.message}" for error in VALIDATOR.iter_errors({**line, **change})
    ]
    assert any(wrong in problem for problem in problems), problems
