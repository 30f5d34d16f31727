"""A registry of listeners for refused requests (401, 403, 429).

The audit app subscribes, so that core can report refusals without importing it.
"""

from collections.abc import Callable

from django.http import HttpRequest

from core.errors import DomainError
from core.observability import metrics

Listener = Callable[[HttpRequest, DomainError], None]
_listeners: list[Listener] = []


def subscribe(listener: Listener) -> None:
    """Call `listener(request, error)` for each 401, 403 and 429. For `AppConfig.ready()`."""
    _listeners.append(listener)


def publish(request: HttpRequest, error: DomainError) -> None:
    """Count a refused request in the metrics and call the listeners."""
    metrics.refusals.labels(error.code).inc()
    for listener in _listeners:
        listener(request, error)
