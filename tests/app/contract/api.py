"""The document as Schemathesis reads it, the backend that is asked, and who asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import schemathesis
from prometheus_client import CollectorRegistry

from app.api.v1.endpoints.media import VIDEO_TYPES
from app.core.config import Settings
from app.core.metrics import Metrics
from app.main import create_app
from app.seed.world import build_world

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemathesis.core.transport import Response

WORLD = build_world()
PASSWORD = "socialflow-demo-password"  # noqa: S105 - of every seeded account
LIMIT_S = 10.0
ANONYMOUS = "anonymous"
ADMIN = next(user for user in WORLD.users if user.role == "admin")
CREATOR = next(user for user in WORLD.users if user.role == "creator")
# Who may least and who may most; what a creator may is part of the journey.
CALLERS = ("visitor-00", ADMIN.username)
LOGIN = "POST /api/v1/auth/login"

DOCUMENT: dict[str, Any] = create_app(Settings(), Metrics(CollectorRegistry())).openapi()
LABELS = tuple(f"{m.upper()} {p}" for p, item in DOCUMENT["paths"].items() for m in item)

# What a schema cannot say: a cursor is refused unless it was given out, a password when it is common, a file when it is
# no video.
MORE_RULES = {
    "positive_data_acceptance": {
        "expected-statuses": ["2xx", "401", "403", "404", "409", "415", "422", "429", "5xx"]
    }
}
WITH_MORE_RULES = (
    *("/api/v1/videos", "/api/v1/videos/mine", "/api/v1/admin/users", "/api/v1/auth/register"),
)


@schemathesis.serializer(*(kind for kind in VIDEO_TYPES if kind.startswith("video/")))
def as_it_is(_context: object, value: Any) -> bytes | None:
    """Send a file as the bytes that it is."""
    data = getattr(value, "data", value)
    return data if isinstance(data, bytes | None) else str(data).encode()


def read(document: dict[str, Any], *, only_good: bool = False) -> Any:
    """Return Schemathesis' view of a document: the same requests in every run, some of them for what is there.

    Bad requests and the edges of all values are left out on demand.
    """
    # Not videos that other tests ask for: an administrator may delete them.
    videos = [str(video.id) for video in WORLD.videos if video.owner_id == CREATOR.id][-4:]
    # Not those who call: one of them would become another's colleague, or lose the right that is tested.
    users = [str(user.id) for user in WORLD.users if user.username not in CALLERS][-4:]
    paths = set(document["paths"])
    return schemathesis.openapi.from_dict(
        document,
        config=schemathesis.Config.from_dict(
            {
                "seed": 20_240_229,
                "max-redirects": 0,
                "dictionaries": {
                    "videos": {"values": videos},
                    "users": {"values": users},
                    "channels": {"values": [channel.name for channel in WORLD.channels]},
                    "files": {"values": [f"{c.recording_id}.mp4" for c in WORLD.channels]},
                    "usernames": {"values": [f"visitor-{n}" for n in range(40, 50)]},
                    "passwords": {"values": [PASSWORD]},
                },
                "parameters": {
                    "path.video_id": {"dictionary": "videos", "probability": 0.4},
                    "path.user_id": {"dictionary": "users", "probability": 0.4},
                    "path.name": {"dictionary": "channels", "probability": 0.4},
                    "path.file": {"dictionary": "files", "probability": 0.4},
                    "body.username": {"dictionary": "usernames", "probability": 0.4},
                    "body.password": {"dictionary": "passwords", "probability": 0.8},
                },
                "generation": {
                    "max-examples": 10 if only_good else 20,
                    "mode": "positive" if only_good else "all",
                    "deterministic": True,
                    "database": "none",
                },
                "phases": {"coverage": {"enabled": not only_good}},
                "operations": [
                    {"include-path": path, "checks": MORE_RULES}
                    for path in WITH_MORE_RULES
                    if path in paths
                ],
            }
        ),
    )


SCHEMA = read(DOCUMENT)


@dataclass(frozen=True)
class Api:
    """A running backend: where it is, and the bearer token of each caller."""

    name: str
    url: str
    tokens: dict[str, str] = field(default_factory=dict)
    _asked: count[int] = field(default_factory=count)

    def sign_in(self) -> None:
        """Get a token for every caller."""
        for username in CALLERS:
            answer = self.ask(LOGIN, body={"username": username, "password": PASSWORD})
            self.tokens[username] = answer.json()["tokens"]["access_token"]

    def headers(self, caller: str = ANONYMOUS) -> dict[str, str]:
        """Return what a request of `caller` carries; each comes from another address, for limits are per address."""
        n = next(self._asked)
        headers = {"X-Forwarded-For": f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"}
        if caller != ANONYMOUS:
            headers["Authorization"] = f"Bearer {self.tokens[caller]}"
        return headers

    def callers(self, operation: Mapping[str, Any]) -> Iterator[str]:
        """Yield who calls an operation: only a protected one tells callers apart."""
        yield ANONYMOUS
        if operation.get("security"):
            yield from self.tokens

    def ask(
        self, label: str, *, caller: str = ANONYMOUS, token: str | None = None, **parts: Any
    ) -> Response:
        """Send one request, hold its answer against the document and return it; what is not a success fails."""
        headers = self.headers(caller)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if "body" in parts:
            parts.setdefault("media_type", "application/json")
        case = SCHEMA.find_operation_by_label(label).Case(**parts)
        answer: Response = case.call_and_validate(self.url, headers=headers, timeout=LIMIT_S)
        assert answer.status_code < 300, f"{label}: {answer.status_code} {answer.text}"
        return answer
