"""Render the files of Prometheus and Alertmanager for one run: its time scale, its webhook."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.errors import UsageError
from chaos.runtime.timescale import check_time_scale, scale_document

WEBHOOK_MARKER = "webhook-sink:9095"
"""What `alertmanager.yml` sends notifications to; a run puts its own recorder there."""

NO_SINK = "127.0.0.1:9"
"""The discard port: without a recorder notifications are refused at once."""

_COMPONENTS = frozenset({"prometheus", "alertmanager"})


def render(
    component: str, container_path: str, text: str, time_scale: float, *, sink: str = NO_SINK
) -> str:
    """Return the text of a mounted file as `component` gets it at `time_scale`.

    Only the YAML files of prometheus and alertmanager change. `sink` is the `host:port` that takes
    notifications. Raises `UsageError` for a time scale outside 1..150 and for a file whose scaling
    is not decided.
    """
    check_time_scale(time_scale)
    if component not in _COMPONENTS or not container_path.endswith((".yml", ".yaml")):
        return text
    try:
        return scale_document(text.replace(WEBHOOK_MARKER, sink), time_scale)
    except UsageError as error:
        raise UsageError(f"{container_path} of {component}: {error}") from error


@dataclass(frozen=True, slots=True)
class MonitoringRender:
    """`render` bound to one run, in the form of the local runtime's callback."""

    time_scale: float
    sink: str = NO_SINK

    def __post_init__(self) -> None:
        """Refuse a bad time scale when the run is planned, not when the first file is rendered."""
        check_time_scale(self.time_scale)

    def __call__(self, component: str, container_path: str, text: str) -> str:
        """Return `text` as `component` gets it."""
        return render(component, container_path, text, self.time_scale, sink=self.sink)
