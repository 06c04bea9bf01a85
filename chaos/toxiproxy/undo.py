"""Taking faults back through the control API: the gentle way, with one limit for all of its calls."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from chaos.toxiproxy.client import CALL_WITHIN_S, ToxiproxyError, ToxiproxyTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaos.toxiproxy.client import Toxiproxy


def restore(
    api: Toxiproxy, proxy: str, toxics: Iterable[str], *, within_s: float = CALL_WITHIN_S
) -> None:
    """Remove `toxics`, open the route, and read back that nothing is in force.

    Raises `ToxiproxyError` when that did not work in `within_s`. Then the state is unknown and a further call may
    hang as well, so the only safe next step is to end this Toxiproxy's process and start it again. Disabling the
    proxy around the removal, or `/reset`, makes 2.12 hang more often, not less.
    """
    until = time.monotonic() + within_s

    def limited() -> Toxiproxy:
        left = until - time.monotonic()
        if left <= 0:
            raise ToxiproxyTimeoutError(f"{proxy} was not restored in {within_s:g} s")
        return replace(api, within_s=left)

    for name in toxics:
        limited().remove_toxic(proxy, name)
    state = limited().proxy(proxy)
    if not state.enabled:
        state = limited().set_enabled(proxy, enabled=True)
    if not state.clean:
        left = ", ".join(toxic.name for toxic in state.toxics) or "the route is disabled"
        raise ToxiproxyError(f"{proxy} is not clean after the undo: {left}")
