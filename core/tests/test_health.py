import time

import pytest
from django.conf import settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from core.observability import health

pytestmark = pytest.mark.django_db


def test_health_says_what_runs_without_asking_any_store(django_assert_num_queries):
    with django_assert_num_queries(0):
        answer = Client().get("/health").json()

    assert {**answer, "timestamp": answer["timestamp"][-1]} == {
        "status": "ok",
        "version": settings.VERSION,
        "environment": "development",
        "timestamp": "Z",
    }


def test_ready_says_what_it_looked_at():
    health._last = None

    assert Client().get("/health/ready").json() == {
        "status": "ok",
        "database": "ok",
        "migrations": "ok",
        "redis": "ok",
    }


def test_ready_fails_first_when_the_process_is_about_to_stop():
    flag = settings.VAR_DIR / "draining"
    flag.touch()
    try:
        answer = Client().get("/health/ready")
    finally:
        flag.unlink()

    assert (answer.status_code, answer.json()) == (503, {"status": "draining"})


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_probes_answer_get_and_head_only(path):
    assert [Client().generic(method, path).status_code for method in ("GET", "HEAD", "POST", "DELETE")] == [
        200,
        200,
        405,
        405,
    ]


def test_ready_fails_while_a_migration_is_pending():
    health._last = None
    health._migrated = False
    MigrationRecorder.Migration.objects.filter(app="sites").latest("id").delete()
    try:
        answer = Client().get("/health/ready")
    finally:
        health._last = None

    assert (answer.status_code, answer.json()) == (
        503,
        {"status": "unavailable", "database": "ok", "migrations": "pending", "redis": "ok"},
    )


def test_ready_fails_while_the_database_takes_no_writes():
    health._last = None
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL default_transaction_read_only = on")
    try:
        answer = Client().get("/health/ready")
    finally:
        health._last = None

    assert (answer.status_code, answer.json()["database"]) == (503, "read_only")


def test_a_check_is_reused_for_a_second_and_no_longer(django_assert_num_queries):
    health._last = None
    Client().get("/health/ready")

    with django_assert_num_queries(0):
        for _ in range(3):
            assert Client().get("/health/ready").status_code == 200
    time.sleep(health.CHECK_SECONDS + 0.05)
    with django_assert_num_queries(1):
        assert Client().get("/health/ready").status_code == 200
