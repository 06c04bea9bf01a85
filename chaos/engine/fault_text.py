"""Faults as people write them: `latency redis-cache delay_ms=300 jitter_ms=50 for=30s`."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from chaos.engine.rehearse import check_target
from chaos.errors import UsageError, unknown
from chaos.model.faults import FAULTS, fault_from_json

if TYPE_CHECKING:
    from chaos.model.faults import Fault
    from chaos.model.topology import Topology

DEFAULT_FOR_S = 60.0
MAX_FOR_S = 3600.0
_FOR = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}


def parse_fault(text: str, topology: Topology) -> tuple[Fault, float]:
    """Return the fault and for how many seconds it is asked. Raises `UsageError` with the nearest valid name."""
    words = text.split()
    if len(words) < 2 or any("=" in w for w in words[:2]):  # noqa: PLR2004 (kind and target)
        raise UsageError(
            f"fault {text!r}; expected KIND TARGET [name=value ...] [for=30s], "
            f"KIND one of {', '.join(FAULTS)}"
        )
    kind, target, *rest = words
    if kind not in FAULTS:
        raise unknown("fault", kind, FAULTS)
    values: dict[str, Any] = {"kind": kind, "target": target}
    for_s = DEFAULT_FOR_S
    numbers = {f.name for f in fields(FAULTS[kind]) if f.name not in {"target", "direction"}}
    for word in rest:
        name, _, value = word.partition("=")
        if name == "for":
            for_s = _seconds(value)
        elif name in numbers:
            if not value.isdigit():
                raise UsageError(
                    f"fault {text!r}: {name}={value!r}; expected a whole number, as {name}=300"
                )
            values[name] = int(value)
        else:
            values[name] = value
    fault = fault_from_json(values)
    check_target(fault, topology)
    return fault, for_s


def _seconds(value: str) -> float:
    match = _FOR.fullmatch(value)
    seconds = float(match[1]) * _UNIT_S[match[2]] if match else 0.0
    if not 0 < seconds <= MAX_FOR_S:
        raise UsageError(f"for={value!r}; expected a length of time up to an hour, as for=30s")
    return seconds
