import pytest
from django.conf import settings
from django.test import Client

from core import health

pytestmark = pytest.mark.django_db


def test_health_says_what_runs_without_asking_any_store(django_assert_num_queries):
    with django_assert_num_queries(0):
        answer = Client().get("/health").json()

    assert {**answer, "timestamp": answer["timestamp"][-1]} == {
        "status": "ok", "version": settings.VERSION, "environment": "development", "timestamp": "Z",
    }  # fmt: skip


def test_ready_says_what_it_looked_at():
    health._last = None

    assert Client().get("/health/ready").json() == {"status": "ok", "database": "ok", "migrations": "ok", "redis": "ok"}


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
