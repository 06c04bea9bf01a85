"""Every operation can succeed, with and without Redis, and its success is as documented."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pyotp

from tests.app.contract.api import ADMIN, CREATOR, LABELS, LOGIN, PASSWORD, WORLD, Api
from tests.app.uploading import clip

if TYPE_CHECKING:
    from schemathesis.core.transport import Response

API = "/api/v1"
RECORDED = next(channel for channel in WORLD.channels if not channel.live)
# Each backend has its own, since what one does to an account the other would see.
ACCOUNTS = {
    "healthy": ("visitor-11", "visitor-12", "visitor-13"),
    "redis_refused": ("visitor-21", "visitor-22", "visitor-23"),
}


class Session:
    """Asks, and remembers what was asked."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.member, self.careful, self.promoted = ACCOUNTS[api.name]
        self.asked: set[str] = set()

    def ask(self, label: str, **parts: Any) -> Response:
        """Ask for a success."""
        self.asked.add(label)
        return self.api.ask(label, **parts)

    def read(self) -> None:
        """Ask what needs no account."""
        video = {"path_parameters": {"video_id": str(WORLD.videos[0].id)}}
        for path in ("/livez", "/readyz", f"{API}/health", f"{API}/health/detailed"):
            self.ask(f"GET {path}")
        cursor = self.ask(f"GET {API}/videos", query={"limit": 2}).json()["next_cursor"]
        self.ask(f"GET {API}/videos", query={"limit": 2, "cursor": cursor})
        self.ask(f"GET {API}/videos/trending")
        self.ask(f"GET {API}/videos/{{video_id}}", **video)
        self.ask(f"GET {API}/videos/{{video_id}}/thumbnail", **video)
        self.ask(f"POST {API}/videos/{{video_id}}/views", **video)

    def publish(self) -> None:
        """Upload a video, look at it, delete it; watch one that is there."""
        token = self.login(CREATOR.username)["access_token"]
        receipt = self.ask(
            f"POST {API}/videos",
            token=token,
            query={"title": "A small clip"},
            headers={"Idempotency-Key": f"upload-{self.api.name}"},
            media_type="application/octet-stream",
            body=clip(),
        ).json()
        self.ask(f"GET {API}/videos/mine", token=token, query={"limit": 2})
        own = {"path_parameters": {"video_id": receipt["video_id"]}}
        self.ask(f"DELETE {API}/videos/{{video_id}}", token=token, **own)
        video = {"path_parameters": {"video_id": str(WORLD.videos[0].id)}}
        for method in ("GET", "HEAD"):
            self.ask(f"{method} {API}/videos/{{video_id}}/stream", **video)
        part = {"headers": {"Range": "bytes=0-99"}}
        assert self.ask(f"GET {API}/videos/{{video_id}}/stream", **video, **part).status_code == 206

    def use_account(self) -> None:
        """Register, and use an account from login to logout."""
        name = f"newcomer-{self.api.name.replace('_', '-')}"
        account = {"username": name, "email": f"{name}@socialflow.example", "password": PASSWORD}
        self.ask(f"POST {API}/auth/register", body=account)
        tokens = self.login(self.member)
        self.ask(f"GET {API}/auth/me", token=tokens["access_token"])
        refresh = {"refresh_token": tokens["refresh_token"]}
        tokens = self.ask(f"POST {API}/auth/refresh", body=refresh).json()
        self.ask(f"POST {API}/auth/logout", body={"refresh_token": tokens["refresh_token"]})

    def use_two_factors(self) -> None:
        """Enrol, confirm, log in by both ways, disable."""
        name = self.careful
        token = self.login(name)["access_token"]
        enrol = f"POST {API}/auth/2fa/enrol"
        secret = self.ask(enrol, token=token, body={"password": PASSWORD}).json()["secret"]
        totp, now = pyotp.TOTP(secret), time.time()
        confirmed = self.ask(
            f"POST {API}/auth/2fa/confirm", token=token, body={"code": totp.at(now)}
        )
        codes = confirmed.json()["recovery_codes"]
        account = {"username": name, "password": PASSWORD}
        challenge = self.ask(LOGIN, body=account).json()["challenge"]
        self.ask(f"POST {API}/auth/login/code", body={"challenge": challenge, "code": codes[0]})
        self.ask(LOGIN, body={**account, "code": codes[1]})
        disable = {"password": PASSWORD, "code": totp.at(now + 30)}
        self.ask(f"POST {API}/auth/2fa/disable", token=token, body=disable)

    def administer(self) -> None:
        """Do what a creator and an admin may."""
        video = next(video for video in WORLD.videos if video.owner_id == CREATOR.id)
        self.ask(
            f"PATCH {API}/videos/{{video_id}}",
            token=self.login(CREATOR.username)["access_token"],
            path_parameters={"video_id": str(video.id)},
            body={"title": "A title that was changed"},
        )
        self.ask(f"GET {API}/admin/users", caller=ADMIN.username, query={"limit": 2})
        promoted = self.login(self.promoted)["access_token"]
        account = self.ask(f"GET {API}/auth/me", token=promoted).json()
        self.ask(
            f"PUT {API}/admin/users/{{user_id}}/role",
            caller=ADMIN.username,
            path_parameters={"user_id": account["id"]},
            body={"role": "creator"},
        )

    def watch_live(self) -> None:
        """Start a channel, watch it and a recording, stop it."""
        name = f"contract-{self.api.name.replace('_', '-')}"
        channel: dict[str, Any] = {
            "token": self.login(CREATOR.username)["access_token"],
            "path_parameters": {"name": name},
        }
        self.ask(f"PUT {API}/live/channels/{{name}}", **channel)
        self.ask(f"GET {API}/live/channels", query={"limit": 1})
        self.ask(f"GET {API}/live/{{name}}", path_parameters={"name": name})
        for each in (name, RECORDED.name):
            playlist = self.ask(
                f"GET {API}/live/{{name}}/index.m3u8", path_parameters={"name": each}
            )
            file = re.findall(r"^segments/(.+)$", playlist.text, re.MULTILINE)[0]
            self.ask(
                f"GET {API}/live/{{name}}/segments/{{file}}",
                path_parameters={"name": each, "file": file},
            )
        self.ask(f"DELETE {API}/live/channels/{{name}}", **channel)

    def login(self, username: str) -> dict[str, str]:
        """Return a seeded account's tokens."""
        answer = self.ask(LOGIN, body={"username": username, "password": PASSWORD})
        tokens: dict[str, str] = answer.json()["tokens"]
        return tokens


def test_every_operation_succeeds(api: Api) -> None:
    """A journey through all operations gets only successes; none is left out."""
    session = Session(api)
    session.read()
    session.use_account()
    session.use_two_factors()
    session.administer()
    session.publish()
    session.watch_live()

    assert session.asked == set(LABELS)
