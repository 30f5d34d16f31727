import json
import threading
import time

import pytest
from django.conf import settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from config import embedded_servers
from core.observability import health, runtime_folder
from core.observability.background_value import BackgroundValue

pytestmark = pytest.mark.django_db


def test_health_returns_the_version_without_a_query(django_assert_num_queries):
    with django_assert_num_queries(0):
        response = Client().get("/health").json()

    assert {**response, "timestamp": response["timestamp"][-1]} == {
        "status": "ok",
        "version": settings.VERSION,
        "environment": "development",
        "timestamp": "Z",
    }


@pytest.fixture
def checks():
    """Forget the results of earlier checks."""
    health._migrations_applied = False
    yield
    health._migrations_applied = False


def test_check_database_reports_a_pending_migration(checks):
    assert health._check_database() == {"database": "ok", "migrations": "ok"}
    health._migrations_applied = False
    MigrationRecorder.Migration.objects.filter(app="sites").latest("id").delete()

    assert health._check_database() == {"database": "ok", "migrations": "pending"}


def test_check_database_reports_a_read_only_server(checks):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL default_transaction_read_only = on")

    assert health._check_database()["database"] == "read_only"


@pytest.mark.parametrize(
    ("parts", "status", "summary"),
    [
        ({"database": "ok", "migrations": "ok", "redis": "ok"}, 200, "ok"),
        ({"database": "ok", "migrations": "ok", "redis": "unavailable"}, 200, "degraded"),
        ({"database": "ok", "migrations": "ok", "worker_mail": "missing"}, 200, "degraded"),
        ({"database": "ok", "migrations": "pending", "redis": "ok"}, 503, "unavailable"),
        ({"database": "read_only", "migrations": "ok", "redis": "ok"}, 503, "unavailable"),
    ],
)
def test_readiness_answers_503_only_for_what_serving_needs(monkeypatch, parts, status, summary):
    value = BackgroundValue(lambda: parts, lifetime_seconds=1)
    monkeypatch.setattr(health, "_PARTS", {"database": value})

    assert health.readiness(["database"]) == (status, {"status": summary, **parts})


def test_readiness_answers_in_time_when_a_part_does_not_answer(monkeypatch):
    may_end = threading.Event()
    parts = {
        "database": BackgroundValue(lambda: may_end.wait(20) and {}, lifetime_seconds=1),
        "redis": BackgroundValue(lambda: {"redis": "ok"}, lifetime_seconds=1),
    }
    monkeypatch.setattr(health, "_PARTS", parts)
    monkeypatch.setattr(health, "READY_SECONDS", 0.2)
    try:
        status, content = health.readiness(["database", "redis"])
        threads = threading.active_count()
        health.readiness(["database", "redis"])
        assert (
            threading.active_count() == threads
        )  # a frozen server costs one thread, however many probes come
    finally:
        may_end.set()

    assert (status, content) == (503, {"status": "unavailable", "database": "no answer", "redis": "ok"})


def test_readiness_answers_503_while_the_process_is_draining(monkeypatch, tmp_path):
    monkeypatch.setenv(runtime_folder.RUNTIME_FOLDER, str(tmp_path))
    runtime_folder.draining_flag(tmp_path).touch()

    assert health.readiness(health.PUBLIC_PARTS) == (503, {"status": "draining"})


def test_ready_shows_the_parts_that_serving_needs_and_the_internal_listener_shows_all(client):
    public = client.get("/health/ready").json()
    status, content_type, body = health.internal_ready({})

    assert set(public) == {"status", "database", "migrations", "redis"}
    assert (status, content_type) == ("200 OK", "application/json")
    workers = {f"worker_{queue}": "missing" for queue in settings.QUEUES}
    others = {"status": "degraded", "beat": "missing", "mail": "ok", "object_store": "ok"}
    assert json.loads(body) == {**public, **others, **workers}


def test_check_mail_reports_a_server_that_refuses_connections(settings):
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_PORT = embedded_servers.free_port()

    assert health._check_mail() == {"mail": "unavailable"}


def test_background_value_computes_once_in_its_lifetime():
    computed = []
    value = BackgroundValue(lambda: computed.append(1) or len(computed), lifetime_seconds=0.2)

    results = [value.get(deadline=time.monotonic() + 5) for _ in range(5)]
    time.sleep(0.25)
    results.append(value.get(deadline=time.monotonic() + 5))

    assert results == [1, 1, 1, 1, 1, 2]


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health_live_and_ready_allow_get_and_head_only(path):
    assert [Client().generic(method, path).status_code for method in ("GET", "HEAD", "POST", "DELETE")] == [
        200,
        200,
        405,
        405,
    ]
