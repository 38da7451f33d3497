"""What Prometheus is told: requests, counted here, and captures and losses, read from the database."""

from __future__ import annotations

import os

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"

_REQUESTS = Histogram(
    "streamrec_http_request_duration_seconds",
    "Seconds from the request's head to the last byte of the answer.",
    ["operation", "status"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)


def observe_request(operation: str, status: int, seconds: float) -> None:
    """Count one request; `operation` is an operationId, or `none`, so that clients cannot make up labels."""
    _REQUESTS.labels(operation, str(status)).observe(seconds)


def exposition(*collectors: Collector) -> bytes:
    """The text format (version 0.0.4) of this process's or, under gunicorn, all workers' counts and `collectors`.

    gunicorn's configuration sets PROMETHEUS_MULTIPROC_DIR to an empty folder before the workers start.
    """
    own = CollectorRegistry()
    for collector in collectors:
        own.register(collector)
    if os.environ.get(MULTIPROCESS_DIR):
        MultiProcessCollector(own)  # type: ignore[no-untyped-call]
        return generate_latest(own)
    return generate_latest(REGISTRY) + generate_latest(own)
