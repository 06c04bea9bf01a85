"""`name:port` of the Compose network, and the loopback address that stands for it locally."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaos.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LOOPBACK = "127.0.0.1"
ANY_ADDRESS = "0.0.0.0"  # looked for and replaced, never bound


def reference_pattern(components: Iterable[str]) -> re.Pattern[str]:
    """Match `<component>:<port>` and `0.0.0.0:<port>`, with groups `name` and `port`.

    Longer names win (`edge-postgres` before `postgres`), and a name inside a longer word or an image tag
    (`postgres:18.6`) is left alone.
    """
    names = sorted({*components, ANY_ADDRESS}, key=len, reverse=True)
    choice = "|".join(re.escape(name) for name in names)
    return re.compile(rf"(?<![\w.-])(?P<name>{choice}):(?P<port>\d{{1,5}})(?!\w|\.\d)")


def references(text: str, components: Iterable[str], *, own: str) -> Iterator[tuple[str, int]]:
    """Yield each (component, port) that `text` names; `0.0.0.0` stands for `own`."""
    for found in reference_pattern(components).finditer(text):
        name = own if found["name"] == ANY_ADDRESS else found["name"]
        yield name, int(found["port"])


@dataclass(frozen=True, slots=True)
class AddressBook:
    """Where each (component, container port) of one stack can be reached: always on loopback."""

    ports: Mapping[tuple[str, int], int]
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Build the pattern once: configuration files are rewritten often."""
        pattern = reference_pattern(name for name, _ in self.ports)
        object.__setattr__(self, "_pattern", pattern)

    def address(self, component: str, port: int) -> tuple[str, int]:
        """Return (host, port) of a container port, or raise `UsageError` with those that exist."""
        if (component, port) not in self.ports:
            known = sorted(str(number) for name, number in self.ports if name == component)
            raise UsageError(
                f"component {component!r} has no port {port}; known: {', '.join(known) or 'none'}"
            )
        return LOOPBACK, self.ports[component, port]

    def rewrite(self, text: str, *, own: str) -> str:
        """Replace every known `name:port`, and `0.0.0.0:port` of component `own`; keep the rest."""

        def replacement(found: re.Match[str]) -> str:
            name = own if found["name"] == ANY_ADDRESS else found["name"]
            port = self.ports.get((name, int(found["port"])))
            return found[0] if port is None else f"{LOOPBACK}:{port}"

        return self._pattern.sub(replacement, text)
