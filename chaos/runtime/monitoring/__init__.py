"""Prometheus and Alertmanager of a run: render, backfill, ask, record, and check their honesty."""

from __future__ import annotations

from chaos.runtime.monitoring.backfill import backfill_openmetrics, write_backfill
from chaos.runtime.monitoring.clients import (
    ActiveAlert,
    Alertmanager,
    Prometheus,
    RuleState,
    Sample,
    Series,
)
from chaos.runtime.monitoring.facts import monitoring_facts, wait_until_full
from chaos.runtime.monitoring.render import MonitoringRender, render
from chaos.runtime.monitoring.sampler import AlertSampler
from chaos.runtime.monitoring.sink import WebhookSink

__all__ = [
    "ActiveAlert",
    "AlertSampler",
    "Alertmanager",
    "MonitoringRender",
    "Prometheus",
    "RuleState",
    "Sample",
    "Series",
    "WebhookSink",
    "backfill_openmetrics",
    "monitoring_facts",
    "render",
    "wait_until_full",
    "write_backfill",
]
