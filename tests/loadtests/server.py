"""A small real server with the API's shapes, in a process of its own: `python server.py MODE` prints its port.

Modes: `good`; `stall` (blocks its event loop for one second, once, at a time it announces); `hang` (answers nothing
after a number of answers); `lie` (200 with wrong bodies); `degraded`; `slam` (accepts and closes).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field

from aiohttp import web

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
IDS = [f"00000000-0000-4000-8000-{i:012x}" for i in range(40)]
WORLD_PAGES = 2
STALL_S = 1.0


@dataclass
class Server:
    """Answers like the API, or not, by its mode."""

    mode: str
    seen: list[dict[str, str]] = field(default_factory=list)

    async def prepare(self, request: web.Request) -> web.StreamResponse | None:
        """Note the request and return what the mode wants instead of an answer."""
        self.seen.append(
            {
                "id": request.headers.get("X-Request-ID", ""),
                "traceparent": request.headers.get("traceparent", ""),
                "path": f"{request.method} {request.path}",
            }
        )
        loaded = len(self.seen) - WORLD_PAGES
        if loaded <= 0:
            return None
        if self.mode == "hang" and loaded > 100:
            await asyncio.sleep(60)
        if self.mode == "slam":
            assert request.transport is not None
            request.transport.close()
        if self.mode == "error":
            return web.Response(status=503)
        if self.mode == "drip":
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(40):
                await response.write(b" ")
                await asyncio.sleep(0.3)
        return None

    def headers(self) -> dict[str, str]:
        """Return what the mode adds to every answer."""
        return {"X-Degraded": "storage, cache"} if self.mode == "degraded" else {}

    def json(self, data: object, status: int = 200) -> web.Response:
        """Return `data`, or an empty object when the mode is to lie."""
        body = {} if self.mode == "lie" and len(self.seen) > WORLD_PAGES else data
        return web.json_response(body, status=status, headers=self.headers())


def video(video_id: str) -> dict[str, object]:
    """Return a video as the API shows it."""
    return {"id": video_id, "title": "A video", "views": 1}


async def main(mode: str) -> None:
    """Serve on a free port until the process is ended."""
    server = Server(mode)
    app = web.Application()

    @web.middleware
    async def wrap(request: web.Request, handler):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        if request.path in {"/seen", "/stall"}:
            return await handler(request)
        return await server.prepare(request) or await handler(request)

    app.middlewares.append(wrap)

    async def listing(request: web.Request) -> web.Response:
        start = int(request.query.get("cursor") or 0)
        more = str(start + 20) if start + 20 < len(IDS) else None
        items = [video(i) for i in IDS[start : start + 20]]
        return server.json({"items": items, "next_cursor": more})

    async def trending(_request: web.Request) -> web.Response:
        return server.json({"items": [video(i) for i in IDS[:5]]})

    async def detail(request: web.Request) -> web.Response:
        return server.json(video(request.match_info["id"]))

    async def thumbnail(_request: web.Request) -> web.Response:
        body = b"<html>" if mode == "lie" else PNG
        return web.Response(body=body, content_type="image/png", headers=server.headers())

    async def view(request: web.Request) -> web.Response:
        receipt = {"view_id": "1", "video_id": request.match_info["id"]}
        return server.json(receipt, status=202)

    async def seen(_request: web.Request) -> web.Response:
        return web.json_response(server.seen)

    async def stall(_request: web.Request) -> web.Response:
        begin = time.monotonic()
        time.sleep(STALL_S)  # noqa: ASYNC251  the very stall that is to be measured
        return web.json_response([begin, time.monotonic()])

    app.router.add_get("/api/v1/videos", listing)
    app.router.add_get("/api/v1/videos/trending", trending)
    app.router.add_get("/api/v1/videos/{id}", detail)
    app.router.add_get("/api/v1/videos/{id}/thumbnail", thumbnail)
    app.router.add_post("/api/v1/videos/{id}/views", view)
    app.router.add_get("/seen", seen)
    app.router.add_post("/stall", stall)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sys.stdout.write(json.dumps(runner.addresses[0][1]) + "\n")
    sys.stdout.flush()
    await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
