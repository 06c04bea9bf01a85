"""What the provider counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """The families, in a registry of their own."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "payments_provider_requests_total",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.replayed = Counter(
            "payments_provider_replayed_total",
            "Answers that were given again to the same idempotency key.",
            registry=self.registry,
        )
        self.conflicts = Counter(
            "payments_provider_conflicts_total",
            "Idempotency keys that were refused.",
            ["reason"],
            registry=self.registry,
        )
        self.webhooks = Counter(
            "payments_provider_webhooks_total",
            "Attempts to deliver an event, by the state after them.",
            ["result"],
            registry=self.registry,
        )
        self.pending = Gauge(
            "payments_provider_webhooks_pending",
            "Events that are still to be delivered.",
            registry=self.registry,
        )
        self.objects = Gauge(
            "payments_provider_objects", "What is kept.", ["kind"], registry=self.registry
        )
        for reason in ("in_flight", "changed"):
            self.conflicts.labels(reason)
        for result in ("delivered", "pending", "dropped"):
            self.webhooks.labels(result)
