"""The metrics of one server, for Prometheus. Labels are names of methods, statuses and reasons."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from transprune.serve.usage import Usage

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
REFUSED = "none"  # the method of a request that was refused before one was chosen


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        # one of its own: the global one takes every name once, and a process may hold several servers
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "transprune"}

        self.requests = Counter(
            "requests", "Chat requests by method and HTTP status", ["method", "status"], **own
        )
        self.open = Gauge("open_requests", "Requests being read, waiting or running", **own)
        self.running = Gauge("running", "Requests that run now", **own)
        self.batch = Histogram("batch_size", "Requests that ran together", buckets=SIZES, **own)
        self.retried = Counter("retried", "Requests run again alone after a batch failed", **own)
        self.dropped = Counter("dropped", "Requests given up", ["reason"], **own)

        self.first_token = Histogram(
            "first_token_seconds",
            "From arrival to the first token",
            ["method"],
            buckets=SECONDS,
            **own,
        )

        self.seconds = Histogram(
            "request_seconds", "From arrival to the last token", ["method"], buckets=SECONDS, **own
        )
        self.prompt_tokens = Counter("prompt_tokens", "Tokens of prompts", ["method"], **own)
        self.visual_tokens = Counter(
            "visual_tokens", "Visual tokens before and after pruning", ["method", "when"], **own
        )
        self.new_tokens = Counter("new_tokens", "Tokens of answers", ["method"], **own)
        self.reuse = Counter("reuse", "Look-ups of earlier work", ["kind", "result"], **own)
        self.reuse_bytes = Gauge("reuse_bytes", "Bytes of earlier work that are kept", **own)

    def reused(self, kind: str, *, hit: bool) -> None:
        """Count a look-up."""
        self.reuse.labels(kind, "hit" if hit else "miss").inc()

    def answered(self, usage: Usage, seconds: float) -> None:
        """Count an answer."""
        method = usage.method
        self.first_token.labels(method).observe(usage.first_token_seconds)
        self.seconds.labels(method).observe(seconds)
        self.prompt_tokens.labels(method).inc(usage.prompt_tokens)
        self.visual_tokens.labels(method, "before").inc(usage.visual_before)
        self.visual_tokens.labels(method, "after").inc(usage.visual_after)
        self.new_tokens.labels(method).inc(usage.new_tokens)

    def page(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return bytes(generate_latest(self.registry))
