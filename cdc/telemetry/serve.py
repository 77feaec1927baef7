"""What `cdc serve` observes: a line of log a request, and metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from cdc.errors import words
from cdc.telemetry.plain import structlog

BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30)


class RequestMetrics:
    """Of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "cdc_serve_requests",
            "Requests to the API, by route and by status of the answer.",
            ["route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "cdc_serve_request_seconds",
            "Seconds from the head of a request to its answer.",
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.refused = Counter(
            "cdc_serve_keys_refused",
            "Requests with a key that is not valid, or over the limit of such requests.",
            registry=self.registry,
        )
        self.connections = Gauge(
            "cdc_serve_connections", "Connections of clients.", registry=self.registry
        )
        self.waiting = Gauge(
            "cdc_serve_waiting", "Requests that wait for a thread.", registry=self.registry
        )
        self.tasks = Counter(
            "cdc_serve_tasks", "Tasks that were carried out.", registry=self.registry
        )

    def page(self) -> bytes:
        return generate_latest(self.registry)


@dataclass(slots=True)
class RequestObserver:
    """Nothing that a client sends is logged but what has a form: method, route, status, address."""

    log: Any = field(default_factory=lambda: structlog.get_logger("cdc"))
    metrics: RequestMetrics = field(default_factory=RequestMetrics)

    def serving(self, url: str, host: str, port: int) -> None:
        self.log.info("serving the API", url=url, host=host, port=port)

    def serving_health(self, host: str, port: int) -> None:
        self.log.info("serving health and metrics", host=host, port=port)

    def exposed_port(self, host: str) -> None:
        self.log.warning(
            "the API is served without TLS on an address that others can reach",
            host=host,
            hint="Set CDC_SERVE_TLS_CERT_FILE, or put a proxy before it and name it in "
            "CDC_SERVE_TRUSTED_PROXIES.",
        )

    def may_read_secrets(self, account: str) -> None:
        self.log.warning(
            "the account may read signing secrets, which the API does not need",
            account=account,
            hint="Use an account that has the role cdc_serve and no other.",
        )

    def not_ready(self, error: Exception) -> None:
        self.log.warning("not ready", error=words(error))

    def ready(self) -> None:
        self.log.info("ready")

    def answered(
        self, route: str, status: int, seconds: float, *, request: str, source: str, key: str = ""
    ) -> None:
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.seconds.observe(seconds)
        self.log.info(
            "request",
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            request=request,
            source=source,
            key=key or None,
        )

    def key_refused(self) -> None:
        self.metrics.refused.inc()

    def sign_in_refused(self, request: str, error: str) -> None:
        """By OpenID Connect; the page does not say why."""
        self.log.warning("a sign-in was not accepted", request=request, error=error)

    def failed(self, request: str, error: BaseException) -> None:
        """A mistake of ours."""
        self.log.error("a request failed", request=request, exc_info=error)

    def unavailable(self, request: str, error: str) -> None:
        self.log.warning("a request was not carried out", request=request, error=error)

    def beside_failed(self, what: str, error: Exception) -> None:
        self.log.warning("work beside requests failed", what=what, error=words(error))

    def stopping(self, reason: str, in_flight: int) -> None:
        self.log.info("stopping", reason=reason, in_flight=in_flight)

    def stopped(self) -> None:
        self.log.info("stopped")
