"""Honest answers to "are you well?": the process, the database, Redis, the migrations."""

import threading
import time
from datetime import UTC, datetime

from django.conf import settings
from django.db import DatabaseError, connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from core.storage import redis

CHECK_SECONDS = 1.0  # a check is reused for this long, so that probes cost nothing
_lock = threading.Lock()
_last: tuple[float, dict[str, str]] | None = None
_migrated = False


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """What runs here. No store is asked."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    facts = {
        "status": "ok",
        "version": settings.VERSION,
        "environment": settings.ENV.environment,
        "timestamp": now,
    }
    return JsonResponse(facts)


@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """This process answers. Nothing else is asked, so a database outage never restarts it."""
    return JsonResponse({"status": "ok"})


@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Whether to send traffic here: the database takes writes, migrations are applied.

    Redis away is `degraded`.
    """
    if (settings.VAR_DIR / "draining").exists():
        return JsonResponse({"status": "draining"}, status=503, headers={"Retry-After": "5"})
    checks = run_health_checks()
    if checks["database"] != "ok" or checks["migrations"] != "ok":
        return JsonResponse({"status": "unavailable", **checks}, status=503, headers={"Retry-After": "2"})
    return JsonResponse({"status": "ok" if checks["redis"] == "ok" else "degraded", **checks})


def run_health_checks() -> dict[str, str]:
    """`ok` or what is wrong, for database, migrations and redis; at most one real check a second."""
    global _last
    with _lock:
        if _last is None or time.monotonic() - _last[0] > CHECK_SECONDS:
            checks = _database()
            checks["redis"] = _redis()
            _last = (time.monotonic(), checks)
        return _last[1]


def _database() -> dict[str, str]:
    global _migrated
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'"
            )
            read_only = cursor.fetchone()[0]
        if not _migrated:
            executor = MigrationExecutor(connection)
            _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        connections.close_all()
        return {"database": "unavailable", "migrations": "unknown"}
    return {"database": "read_only" if read_only else "ok", "migrations": "ok" if _migrated else "pending"}


def _redis() -> str:
    try:
        redis.call(lambda client: client.ping())
    except redis.RedisUnavailable:
        return "degraded"
    return "ok"
