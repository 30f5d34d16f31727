import time

import pytest
from django.conf import settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from core.observability import health

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


def test_ready_returns_the_result_of_each_check():
    health._last_result = None

    assert Client().get("/health/ready").json() == {
        "status": "ok",
        "database": "ok",
        "migrations": "ok",
        "redis": "ok",
    }


def test_ready_answers_503_while_the_process_is_draining():
    flag = settings.VAR_DIR / "draining"
    flag.touch()
    try:
        response = Client().get("/health/ready")
    finally:
        flag.unlink()

    assert (response.status_code, response.json()) == (503, {"status": "draining"})


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health_live_and_ready_allow_get_and_head_only(path):
    assert [Client().generic(method, path).status_code for method in ("GET", "HEAD", "POST", "DELETE")] == [
        200,
        200,
        405,
        405,
    ]


def test_ready_answers_503_while_a_migration_is_pending():
    health._last_result = None
    health._migrations_applied = False
    MigrationRecorder.Migration.objects.filter(app="sites").latest("id").delete()
    try:
        response = Client().get("/health/ready")
    finally:
        health._last_result = None

    assert (response.status_code, response.json()) == (
        503,
        {"status": "unavailable", "database": "ok", "migrations": "pending", "redis": "ok"},
    )


def test_ready_answers_503_while_the_database_is_read_only():
    health._last_result = None
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL default_transaction_read_only = on")
    try:
        response = Client().get("/health/ready")
    finally:
        health._last_result = None

    assert (response.status_code, response.json()["database"]) == (503, "read_only")


def test_run_health_checks_reuses_a_result_for_one_second(django_assert_num_queries):
    health._last_result = None
    Client().get("/health/ready")

    with django_assert_num_queries(0):
        for _ in range(3):
            assert Client().get("/health/ready").status_code == 200
    time.sleep(health.RESULT_LIFETIME_SECONDS + 0.05)
    with django_assert_num_queries(1):
        assert Client().get("/health/ready").status_code == 200
