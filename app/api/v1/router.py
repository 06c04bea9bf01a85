"""All endpoints under /api/v1."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.v1.endpoints import admin, auth, health, live, media, videos

router = APIRouter(prefix="/api/v1")
router.include_router(videos.router)
router.include_router(media.router)
router.include_router(live.router)
router.include_router(auth.router)
router.include_router(admin.router)
router.include_router(health.router)
