"""The health endpoints: liveness, and readiness with checks of database, migrations and Redis."""

import threading
import time
from datetime import UTC, datetime

from django.conf import settings
from django.db import DatabaseError, connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from core.storage import redis

RESULT_LIFETIME_SECONDS = 1.0  # results are reused for this time, so that frequent probes cost nothing
_lock = threading.Lock()
_last_result: tuple[float, dict[str, str]] | None = None  # monotonic time and result of the last checks
_migrations_applied = False


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Version, environment and time of this process. Uses neither the database nor Redis."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return JsonResponse(
        {
            "status": "ok",
            "version": settings.VERSION,
            "environment": settings.ENV.environment,
            "timestamp": now,
        }
    )


@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """Liveness: this process answers.

    It uses neither the database nor Redis, because restarting this process would not end their outage.
    """
    return JsonResponse({"status": "ok"})


@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Readiness: 200 when the database is writable and all migrations are applied, else 503.

    Without Redis the process can serve, so the answer is 200 with the status `degraded`. While the process
    is about to stop, the answer is 503 with the status `draining`.
    """
    if (settings.VAR_DIR / "draining").exists():
        return JsonResponse({"status": "draining"}, status=503, headers={"Retry-After": "5"})
    checks = run_health_checks()
    if checks["database"] != "ok" or checks["migrations"] != "ok":
        return JsonResponse({"status": "unavailable", **checks}, status=503, headers={"Retry-After": "2"})
    return JsonResponse({"status": "ok" if checks["redis"] == "ok" else "degraded", **checks})


def run_health_checks() -> dict[str, str]:
    """Return `ok` or the problem for each of `database`, `migrations` and `redis`.

    The checks run at most once in `RESULT_LIFETIME_SECONDS`.
    """
    global _last_result
    with _lock:
        if _last_result is None or time.monotonic() - _last_result[0] > RESULT_LIFETIME_SECONDS:
            checks = _check_database()
            checks["redis"] = _check_redis()
            _last_result = (time.monotonic(), checks)
        return _last_result[1]


def _check_database() -> dict[str, str]:
    global _migrations_applied
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'"
            )
            read_only = cursor.fetchone()[0]
        if not _migrations_applied:
            executor = MigrationExecutor(connection)
            _migrations_applied = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        connections.close_all()
        return {"database": "unavailable", "migrations": "unknown"}
    return {
        "database": "read_only" if read_only else "ok",
        "migrations": "ok" if _migrations_applied else "pending",
    }


def _check_redis() -> str:
    try:
        redis.call(lambda client: client.ping())
    except redis.RedisUnavailable:
        return "degraded"
    return "ok"
