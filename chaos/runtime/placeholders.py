"""`{port:8000}` and its kin: what an `x-local` block writes where only the local runtime knows the value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from chaos.errors import UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_PLACEHOLDER = re.compile(r"\{(?P<kind>[a-z]+)(?::(?P<argument>[^{}]*))?\}")
_DURATION = re.compile(r"(?P<count>\d+)(?P<unit>ms|s|m|h|d)")
_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

WITHOUT_ARGUMENT: Final = frozenset({"python", "root"})
WITH_ARGUMENT: Final = frozenset({"port", "tool", "file", "data", "scaled"})


def resolve(text: str, resolvers: Mapping[str, Callable[[str], str]]) -> str:
    """Replace each placeholder by what the resolver of its kind makes of its argument; keep other braces."""

    def replacement(found: re.Match[str]) -> str:
        resolver = resolvers.get(found["kind"])
        return found[0] if resolver is None else resolver(found["argument"] or "")

    return _PLACEHOLDER.sub(replacement, text)


def first_in(text: str) -> str:
    """Return the first placeholder of `text` as it is written, or an empty string."""
    kinds = WITHOUT_ARGUMENT | WITH_ARGUMENT
    return next((found[0] for found in _PLACEHOLDER.finditer(text) if found["kind"] in kinds), "")


def check(
    text: str,
    *,
    where: str,
    ports: Collection[int],
    files: Collection[str],
    data: Collection[str],
) -> None:
    """Raise `UsageError` when a placeholder of `text` could never be resolved.

    `ports` are the component's container ports, `files` the container paths of its mounted files (each file
    of a mounted folder too), `data` those of its named volumes.
    """
    for found in _PLACEHOLDER.finditer(text):
        kind, argument = found["kind"], found["argument"]
        if kind not in WITHOUT_ARGUMENT | WITH_ARGUMENT:
            raise unknown(
                "placeholder", kind, WITHOUT_ARGUMENT | WITH_ARGUMENT, where=f" in {where}"
            )
        if (argument is None) == (kind in WITH_ARGUMENT) or argument == "":
            shape = f"{{{kind}:…}}" if kind in WITH_ARGUMENT else f"{{{kind}}}"
            raise UsageError(f"{where}: {found[0]!r}; expected {shape}")
        known: Collection[str] | None = {
            "port": [str(port) for port in ports],
            "file": files,
            "data": data,
        }.get(kind)
        if known is not None and argument not in known:
            raise unknown(f"{kind} placeholder", str(argument), known, where=f" in {where}")
        if kind == "scaled":
            parse_duration_ms(str(argument), where=where)


def parse_duration_ms(text: str, *, where: str) -> int:
    """Return the milliseconds of a Prometheus duration such as `5m` or `1m30s`."""
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise UsageError(
            f"{where}: {text!r} is no duration; expected one like '5m', '30s' or '250ms'"
        )
    return sum(int(part["count"]) * _UNIT_MS[part["unit"]] for part in parts)


def scaled_duration(text: str, time_scale: float) -> str:
    """Divide a duration by the time scale, at least 1 ms, in the largest unit that keeps it whole."""
    total_ms = max(1, round(parse_duration_ms(text, where="{scaled:…}") / time_scale))
    unit = next(name for name in ("h", "m", "s", "ms") if total_ms % _UNIT_MS[name] == 0)
    return f"{total_ms // _UNIT_MS[unit]}{unit}"
