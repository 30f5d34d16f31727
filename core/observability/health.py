"""The health endpoints: liveness, which asks no store, and readiness with a bound of two seconds.

Each part of readiness is checked by a thread of its own, so that a frozen server holds neither the answer nor
the other parts. The public listener shows what serving needs, the internal listener (INTERNAL_PORT) shows all
parts.
"""

import json
import socket
import time
from datetime import UTC, datetime
from typing import Any

import orjson
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from core.jobs import heartbeats
from core.observability import runtime_folder
from core.observability.background_value import BackgroundValue
from core.storage import redis
from core.storage.object_store import ObjectStoreUnavailable, object_store

READY_SECONDS = 2.0
OK = "ok"
NO_ANSWER = "no answer"
PROBED_OBJECT = "health/probe"  # need not exist
CONNECT_SECONDS = 1.5
_migrations_applied = False


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Version, environment and time of this process. Uses neither the database nor Redis."""
    status, headers, body = health_answer()
    return HttpResponse(body, status=status, headers=headers)


def health_answer() -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of `GET /health`."""
    content = {
        "status": "ok",
        "version": settings.VERSION,
        "environment": settings.ENV.environment,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    return 200, {"Content-Type": "application/json"}, orjson.dumps(content)


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
    status, content = readiness(PUBLIC_PARTS)
    return JsonResponse(content, status=status, headers={"Retry-After": "2"} if status == 503 else {})


def internal_live(environ: dict[str, Any]) -> tuple[str, str, bytes]:
    """Liveness on the internal listener."""
    return "200 OK", "application/json", b'{"status": "ok"}'


def internal_ready(environ: dict[str, Any]) -> tuple[str, str, bytes]:
    """Readiness on the internal listener, with every part."""
    status, content = readiness(list(_PARTS))
    line = "200 OK" if status == 200 else "503 Service Unavailable"
    return line, "application/json", json.dumps(content).encode()


def readiness(parts: list[str]) -> tuple[int, dict[str, str]]:
    """Return the HTTP status and, for the status and each part, `ok` or what is wrong.

    Takes at most `READY_SECONDS`. The status is 503 only for a part that serving needs.
    """
    if runtime_folder.is_draining():
        return 503, {"status": "draining"}
    deadline = time.monotonic() + READY_SECONDS
    for part in parts:
        _PARTS[part].start()
    results: dict[str, str] = {}
    for part in parts:
        results.update(_PARTS[part].get(deadline=deadline) or {part: NO_ANSWER})
    if results["database"] != OK or results.get("migrations") != OK:
        return 503, {"status": "unavailable", **results}
    return 200, {"status": OK if set(results.values()) == {OK} else "degraded", **results}


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
        return {"database": "unavailable", "migrations": "unknown"}
    return {
        "database": "read_only" if read_only else OK,
        "migrations": OK if _migrations_applied else "pending",
    }


def _check_redis() -> dict[str, str]:
    try:
        redis.call(lambda client: client.ping())
    except redis.RedisUnavailable:
        return {"redis": "unavailable"}
    return {"redis": OK}


def _check_workers() -> dict[str, str]:
    """Check that a worker of each queue, and beat, reported in the last minute."""
    try:
        missing = heartbeats.missing_processes()
    except redis.RedisUnavailable:
        return dict.fromkeys(heartbeats.expected_processes(), "unknown")
    return {name: "missing" if name in missing else OK for name in heartbeats.expected_processes()}


def _check_mail() -> dict[str, str]:
    """Check that the mail server accepts a connection."""
    if not settings.EMAIL_HOST:
        return {"mail": OK}  # mails are written to a folder
    try:
        socket.create_connection((settings.EMAIL_HOST, settings.EMAIL_PORT), timeout=CONNECT_SECONDS).close()
    except OSError:
        return {"mail": "unavailable"}
    return {"mail": OK}


def _check_object_store() -> dict[str, str]:
    try:
        object_store().read(PROBED_OBJECT)
    except ObjectStoreUnavailable:
        return {"object_store": "unavailable"}
    return {"object_store": OK}


# Results are kept, so that frequent probes cost nothing. The first part also reports the migrations.
_PARTS: dict[str, BackgroundValue[dict[str, str]]] = {
    "database": BackgroundValue(_check_database, lifetime_seconds=1),
    "redis": BackgroundValue(_check_redis, lifetime_seconds=1),
    "workers": BackgroundValue(_check_workers, lifetime_seconds=5),
    "mail": BackgroundValue(_check_mail, lifetime_seconds=15),
    "object_store": BackgroundValue(_check_object_store, lifetime_seconds=15),
}
PUBLIC_PARTS = ["database", "redis"]
