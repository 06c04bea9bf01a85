"""Which injector brings which fault into force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.engine.injectors.network import NetworkInjector
from chaos.engine.injectors.process import ProcessInjector
from chaos.errors import unknown
from chaos.model.faults import (
    Bandwidth,
    Blackhole,
    Kill,
    Latency,
    LimitBytes,
    Pause,
    Refuse,
    Reset,
)

if TYPE_CHECKING:
    from chaos.engine.injectors.base import Injector
    from chaos.model.faults import Fault

_NETWORK = NetworkInjector()
_PROCESS = ProcessInjector()
INJECTORS: dict[type[Fault], Injector] = {
    Refuse: _NETWORK,
    Latency: _NETWORK,
    Blackhole: _NETWORK,
    Bandwidth: _NETWORK,
    Reset: _NETWORK,
    LimitBytes: _NETWORK,
    Kill: _PROCESS,
    Pause: _PROCESS,
}


def injector_for(fault: Fault) -> Injector:
    """Return the injector of the fault's family. Raises `UsageError` for a fault that has none."""
    if type(fault) not in INJECTORS:
        raise unknown("fault", fault.kind, (kind.kind for kind in INJECTORS))
    return INJECTORS[type(fault)]
