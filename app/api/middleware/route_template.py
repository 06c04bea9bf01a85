"""The template of the route that answered a request, for labels: a closed set, whatever clients ask for.

Since FastAPI 0.137 `scope["route"].path` is only the last part of an included route, so that routers would
collide, and `app.routes` holds objects without a path. The full template of an included route stands in its
effective context; what a mounted application knows lacks the part that leads to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute, Mount, Route, compile_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from re import Pattern

    from fastapi import FastAPI
    from starlette.types import Scope

UNMATCHED = "unmatched"


@dataclass(frozen=True, slots=True)
class _MountPoint:
    """A place where another application hangs. An opaque one has no routes that could be told apart."""

    template: str
    pattern: Pattern[str]
    opaque: bool


@dataclass(frozen=True, slots=True)
class _Tree:
    """What the scope alone does not tell: mounts, and plain Starlette routes by their endpoint."""

    mounts: list[_MountPoint] = field(default_factory=list)
    plain: dict[object, str] = field(default_factory=dict)


class RouteTemplates:
    """Finds the template once the application has routed a request: it leaves its marks in the scope."""

    def __init__(self, app: FastAPI) -> None:
        """Remember the application; its routes are read at the first request that needs them."""
        self._app = app

    def of(self, scope: Scope) -> str:
        """Return the route's template, `unmatched` when there was no route."""
        leaf = _leaf(scope)
        root_path = scope.get("root_path", "")
        mounted_at = root_path.removeprefix(scope.get("app_root_path", root_path))
        if not mounted_at:
            return leaf or self._tree.plain.get(scope.get("endpoint"), UNMATCHED)
        for mount in self._tree.mounts:
            if mount.pattern.match(mounted_at):
                if leaf:
                    return mount.template + leaf
                return f"{mount.template}/{{path}}" if mount.opaque else UNMATCHED
        return UNMATCHED

    def all(self) -> Iterator[tuple[str, str]]:
        """Yield method and template of every API route of the application itself, to prepare their counters."""
        for context in iter_route_contexts(self._app.routes):
            if isinstance(context.original_route, APIRoute) and context.path:
                for method in sorted(context.methods or ()):
                    yield method, context.path

    @cached_property
    def _tree(self) -> _Tree:
        tree = _Tree()
        _walk(self._app.routes, "", tree)
        return tree


def _leaf(scope: Scope) -> str | None:
    """Return the template as the innermost application knows it."""
    route = scope.get("route")
    context = scope.get("fastapi", {}).get("effective_route_context")
    # The context of a mount stays in the scope when an application below it has routed on.
    if context is not None and not isinstance(context.original_route, Mount):
        path: str | None = (context.starlette_route or context).path
        return path
    if route is None or isinstance(route, Mount):
        return None
    return getattr(route, "path", None)


def _walk(routes: Sequence[BaseRoute], prefix: str, tree: _Tree) -> None:
    for context in iter_route_contexts(routes):
        route, path = context.original_route, prefix + (context.path or "")
        if isinstance(route, Mount):
            pattern, _, _ = compile_path(path)
            tree.mounts.append(_MountPoint(path, pattern, opaque=not route.routes))
            _walk(route.routes, path, tree)
        elif isinstance(route, Route) and not isinstance(route, APIRoute) and not prefix:
            tree.plain[route.endpoint] = path
