"""A small real server with the API's shapes, for a process of its own: `python -m tests.loadtests.server MODE`.

It prints its port. Modes: `good`, `degraded`, `error` (503), `lie` (200 with wrong bodies), `slam` (accepts and
closes), `drip` (an answer that never ends), `hang` (no answer after the first hundred), `redirect`. In every mode
`POST /stall` blocks its loop for a second and returns when that began and ended, `GET /seen` what was asked, and
`/status`, `/inject`, `/heal` are a living stack's control API with the token `secret`. Logins are checked as the
backend does, but without limits. Uploads are kept under owner and key; an upload is ready when asked about twice. The
channel is on the air when its playlist was asked for twice.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

import pyotp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
IDS = [f"00000000-0000-4000-8000-{i:012x}" for i in range(40)]
PAGE = 20
WORLD_REQUESTS = 2
"""What a generator asks before its load: two pages of twenty."""
ANSWERED_BEFORE_HANG = 100
STALL_S = 1.0
CLIP = bytes(range(256)) * 80
LIVES_S = 300.0
PASSWORD = "socialflow-demo-password"  # noqa: S105 (of seeded accounts)
ASIDE = {"/seen", "/stall", "/status", "/inject", "/heal"}


@dataclass
class Server:
    """Answers like the API, or not, by its mode."""

    mode: str
    seen: list[dict[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    used: set[tuple[str, str]] = field(default_factory=set)
    uploads: dict[str, bytes] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    viewers: int = 0

    def app(self) -> web.Application:
        """Return the application with all routes."""

        @web.middleware
        async def misbehave(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path in ASIDE:
                return await handler(request)
            self.seen.append(
                {
                    "id": request.headers.get("X-Request-ID", ""),
                    "trace": request.headers.get("traceparent", ""),
                    "asked": f"{request.method} {request.path_qs}",
                    "from": request.headers.get("X-Forwarded-For", ""),
                    "body": (await request.read()).decode("latin-1"),
                    "login": "",
                    "key": request.headers.get("Idempotency-Key", ""),
                }
            )
            # What is asked before the load carries no arrival's id.
            early = not self.seen[-1]["id"]
            return (None if early else await self.misdeed(request)) or await handler(request)

        app = web.Application(middlewares=[misbehave])
        app.router.add_get("/api/v1/videos", self.listing)
        app.router.add_post("/api/v1/videos", self.upload)
        app.router.add_get("/api/v1/videos/{id}/stream", self.stream)
        app.router.add_get("/api/v1/health/detailed", self.health)
        app.router.add_get("/api/v1/live/channels", self.channels)
        app.router.add_get("/api/v1/live/{name}", self.channel)
        app.router.add_get("/api/v1/live/{name}/index.m3u8", self.playlist)
        app.router.add_get("/api/v1/live/{name}/segments/{file}", self.segment)
        app.router.add_get("/api/v1/videos/trending", self.trending)
        app.router.add_get("/api/v1/videos/{id}", self.detail)
        app.router.add_get("/api/v1/videos/{id}/thumbnail", self.thumbnail)
        app.router.add_post("/api/v1/videos/{id}/views", self.view)
        app.router.add_post("/api/v1/auth/login", self.login)
        app.router.add_get("/seen", self.tell)
        app.router.add_post("/stall", self.stall)
        app.router.add_get("/status", self.status)
        app.router.add_post("/inject", self.inject)
        app.router.add_post("/heal", self.heal)
        return app

    async def misdeed(self, request: web.Request) -> web.StreamResponse | None:
        """Return what the mode gives instead of an answer, or nothing."""
        if self.mode == "hang" and len(self.seen) > WORLD_REQUESTS + ANSWERED_BEFORE_HANG:
            await asyncio.sleep(LIVES_S)
        if self.mode == "slam" and request.transport is not None:
            request.transport.close()
        if self.mode == "error":
            return web.Response(status=503)
        if self.mode == "redirect":
            return web.Response(status=302, headers={"Location": "/api/v1/videos"})
        if self.mode == "drip":
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.3)
        return None

    def answer(self, data: object, status: int = 200) -> web.Response:
        """Return `data` as JSON; an empty object when the mode is to lie."""
        return web.json_response({} if self.lies() else data, status=status, headers=self.headers())

    def lies(self) -> bool:
        """Return whether this answer shall be wrong."""
        return self.mode == "lie" and bool(self.seen[-1]["id"])

    def headers(self) -> dict[str, str]:
        """Return what the mode adds to every answer."""
        return {"X-Degraded": "storage, cache"} if self.mode == "degraded" else {}

    async def listing(self, request: web.Request) -> web.Response:
        """Return a page of videos."""
        start = int(request.query.get("cursor") or 0)
        more = str(start + PAGE) if start + PAGE < len(IDS) else None
        items = [_video(i) for i in IDS[start : start + PAGE]]
        return self.answer({"items": items, "next_cursor": more})

    async def trending(self, _request: web.Request) -> web.Response:
        """Return a list of videos."""
        return self.answer({"items": [_video(i) for i in IDS[:5]]})

    async def detail(self, request: web.Request) -> web.Response:
        """Return one video; an upload is ready when it is asked for the second time."""
        video = request.match_info["id"]
        if video not in self.uploads:
            return self.answer(_video(video))
        self.asked[video] = self.asked.get(video, 0) + 1
        ready = self.asked[video] > 1
        more: dict[str, object] = {
            "status": "published" if ready else "processing",
            "renditions": [{}] * 3 * ready,
        }
        return self.answer(_video(video) | more)

    async def upload(self, request: web.Request) -> web.Response:
        """Keep an upload; the same key of the same owner gives the same video, whose bytes stay the first."""
        owner = request.headers.get("Authorization", "")
        if not owner.startswith("Bearer token-of-"):
            return web.json_response({"title": "Unauthorized"}, status=401)
        body = await request.read()
        told = request.headers["Content-Digest"].removeprefix("sha-256=:").removesuffix(":")
        if base64.b64decode(told) != hashlib.sha256(body).digest():
            return web.json_response({"title": "digest"}, status=422)
        video = str(uuid5(NAMESPACE_URL, owner + request.headers["Idempotency-Key"]))
        kept = self.uploads.setdefault(video, body)
        receipt = {"video_id": video, "status": "processing", "size_bytes": len(kept)}
        checksum = hashlib.sha256(kept).hexdigest()
        return self.answer(receipt | {"checksum_sha256": checksum}, status=202)

    async def stream(self, request: web.Request) -> web.Response:
        """Return an upload, or a seeded video's bytes, or the part of them that is asked for."""
        whole = self.uploads.get(request.match_info["id"], CLIP)
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if match is None:
            return web.Response(body=b"" if self.lies() else whole, headers=self.headers())
        start, end = int(match[1]), min(int(match[2]), len(whole) - 1)
        told = f"bytes {start + self.lies()}-{end}/{len(whole)}"
        headers = {"Content-Range": told, **self.headers()}
        return web.Response(body=whole[start : end + 1], status=206, headers=headers)

    async def channels(self, _request: web.Request) -> web.Response:
        """Return three channels, of which one is live and was recorded."""
        rows = (("ended", "offline", "r1"), ("new", "live", None), ("seen-live", "live", "r2"))
        items = [{"name": n, "state": state, "recording_id": r} for n, state, r in rows]
        return self.answer({"items": items})

    async def channel(self, _request: web.Request) -> web.Response:
        """Return what the channel shows: on the air when its playlist was asked for twice."""
        live = self.viewers > 1 and self.mode != "live-off"
        return self.answer({"mode": "live" if live else "vod"})

    async def health(self, _request: web.Request) -> web.Response:
        """Return which features are switched on."""
        return self.answer(
            {"features": {"live": "disabled" if self.mode == "live-off" else "enabled"}}
        )

    async def playlist(self, _request: web.Request) -> web.Response:
        """Return a playlist of two segments."""
        self.viewers += 1
        lines = ["#EXTM3U", "#EXTINF:1,", "segments/7.ts", "#EXTINF:1,", "segments/8.ts", ""]
        text = "<html>" if self.lies() else "\n".join(lines)
        return web.Response(text=text, headers=self.headers())

    async def segment(self, _request: web.Request) -> web.Response:
        """Return a segment of one packet."""
        body = b"<html>" if self.lies() else b"\x47" + bytes(187)
        return web.Response(body=body, headers=self.headers())

    async def thumbnail(self, _request: web.Request) -> web.Response:
        """Return an image, or what claims to be one."""
        body = b"<html>" if self.mode == "lie" else PNG
        return web.Response(body=body, content_type="image/png", headers=self.headers())

    async def view(self, request: web.Request) -> web.Response:
        """Return a receipt."""
        view = request.headers.get("Idempotency-Key", "1")
        return self.answer({"view_id": view, "video_id": request.match_info["id"]}, status=202)

    async def login(self, request: web.Request) -> web.Response:
        """Let in whoever has password and unused code; note in what was asked how it went."""
        body = await request.json()
        how = self.seen[-1]["login"] = self.check(
            body["username"], body["password"], body.get("code")
        )
        if how != "in":
            status = 200 if self.lies() else 401
            return web.json_response({"title": how}, status=status, headers=self.headers())
        tokens = {
            "access_token": f"token-of-{body['username']}",
            "token_type": "bearer",
            "expires_in_s": 600,
            "refresh_token": "r",
        }
        return self.answer({"status": "authenticated", "tokens": tokens, "challenge": None})

    def check(self, username: str, password: str, code: str | None) -> str:
        """Return "in", or why not."""
        if password != PASSWORD:
            return "wrong password"
        if username.startswith("visitor-") or username.endswith("-harbour"):
            return "in"
        digest = hashlib.sha256(f"socialflow-seed-totp:{username}".encode()).digest()
        device = pyotp.TOTP(base64.b32encode(digest[:20]).decode())
        if code is None or not device.verify(code, valid_window=1):
            return "wrong code"
        if (username, code) in self.used:
            return "used code"
        self.used.add((username, code))
        return "in"

    async def tell(self, _request: web.Request) -> web.Response:
        """Return what was asked."""
        return web.json_response(self.seen)

    async def stall(self, _request: web.Request) -> web.Response:
        """Block the loop and return when, on the machine's monotonic clock."""
        begin = time.monotonic()
        time.sleep(STALL_S)  # noqa: ASYNC251  the very stall that is to be measured
        return web.json_response([begin, time.monotonic()])

    async def status(self, request: web.Request) -> web.Response:
        """Return the faults in force."""
        if request.headers.get("Authorization") != "Bearer secret":
            return web.json_response({"error": "wrong or missing token"}, status=401)
        return web.json_response({"faults": self.faults})

    async def inject(self, request: web.Request) -> web.Response:
        """Take a fault; refuse one whose kind is unknown."""
        fault = (await request.json())["fault"]
        if not fault.startswith("refuse "):
            return web.json_response({"error": f"unknown fault {fault!r}"}, status=400)
        self.faults.append(fault)
        return web.json_response({"fault": fault, "for_s": 30.0})

    async def heal(self, _request: web.Request) -> web.Response:
        """Forget every fault."""
        self.faults.clear()
        return web.json_response({"residue": []})


def _video(video_id: str) -> dict[str, object]:
    return {"id": video_id, "title": "A video", "views": 1, "status": "published"}


async def main(mode: str) -> None:
    """Serve on a free port for a while, unless ended before."""
    runner = web.AppRunner(Server(mode).app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1_024).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.sleep(LIVES_S)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
