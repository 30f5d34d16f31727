"""Refusals that somebody may want to record: the audit app listens here, core does not know it."""

from collections.abc import Callable

from django.http import HttpRequest

from core.errors import DomainError
from core.observability import metrics

Listener = Callable[[HttpRequest, DomainError], None]
_listeners: list[Listener] = []


def subscribe(listener: Listener) -> None:
    """Call `listener(request, refusal)` for each 401, 403 and 429. For `AppConfig.ready()`."""
    _listeners.append(listener)


def publish(request: HttpRequest, refusal: DomainError) -> None:
    """Count a refusal and tell the listeners."""
    metrics.refusals.labels(refusal.code).inc()
    for listener in _listeners:
        listener(request, refusal)
