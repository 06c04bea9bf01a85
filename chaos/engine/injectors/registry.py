"""Which injector brings which fault into force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.engine.injectors.network import NetworkInjector
from chaos.engine.injectors.process import ProcessInjector

if TYPE_CHECKING:
    from chaos.engine.injectors.base import Injector
    from chaos.model.faults import Fault

_BY_TARGET: dict[str, Injector] = {"dependency": NetworkInjector(), "component": ProcessInjector()}


def injector_for(fault: Fault) -> Injector:
    """Return the injector of the fault's family."""
    return _BY_TARGET[fault.target_kind]
