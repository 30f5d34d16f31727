import pytest
from django.test import Client

from core import error_events

pytestmark = pytest.mark.django_db


def test_publish_calls_the_listeners_with_request_and_error(api, settings):
    events = []
    listeners = list(error_events._listeners)
    error_events.subscribe(lambda request, error: events.append((request.path, error.code)))
    try:
        Client().get("/api/v1/sites", headers={"Authorization": "Bearer x"})
        settings.RATE_LIMIT = 1
        api.get("config")
        api.get("config")
    finally:
        error_events._listeners[:] = listeners

    assert events == [("/api/v1/sites", "token_invalid"), ("/api/v1/config", "too_many_requests")]
