"""Checks that every process runs when it starts; a failed check stops the process.

The database role must be subject to row-level security, and PostgreSQL and Redis must be new enough, in
production without known vulnerabilities of Redis.
"""

from collections.abc import Callable
from typing import Any

import redis as redis_library
import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from django_redis import get_redis_connection

from config.restore_guard import REFUSAL
from core.observability import redis_versions
from core.storage import redis

MINIMUM_POSTGRES_VERSION = 150000  # as in server_version_num
_registered_checks: list[Callable[[], None]] = []
log = structlog.get_logger(__name__)


class StartupRefused(SystemExit):
    """Stops the process with exit code 1. The message is one line: the problem and what to do about it."""


def register_check(check: Callable[[], None]) -> None:
    """Run `check()` whenever a process starts. It may log a warning or raise StartupRefused.

    For `AppConfig.ready()`.
    """
    _registered_checks.append(check)


def run_checks() -> None:
    """Check the database, Redis and what apps registered. Raises StartupRefused.

    A Redis that evicts keys or does not answer is only logged as a warning.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT rolsuper, rolbypassrls,
                    current_setting('server_version_num')::int,
                    to_regclass('public.backup_restore') IS NOT NULL
                FROM pg_roles
                WHERE rolname = current_user
                """
            )
            is_superuser, bypasses_rls, version, is_partly_restored = cursor.fetchone()
    except (OperationalError, ImproperlyConfigured) as error:
        raise StartupRefused(
            f"DATABASE_URL cannot be reached: {str(error).strip().splitlines()[0]}"
        ) from None
    finally:
        connection.close()
    if is_superuser or bypasses_rls:
        raise StartupRefused(
            "DATABASE_URL names a role with SUPERUSER or BYPASSRLS, which row-level security does not "
            "restrict: customers would see each other's data. Use a role without them."
        )
    if is_partly_restored:
        raise StartupRefused(REFUSAL)
    if version < MINIMUM_POSTGRES_VERSION:
        raise StartupRefused("PostgreSQL 15 or newer is needed.")
    try:
        _check_redis()
    except redis_library.RedisError as error:
        log.warning("redis_unavailable", detail=type(error).__name__)
    for check in _registered_checks:
        check()


def check_redis_url() -> None:
    """Raise StartupRefused when Redis does not answer at REDIS_URL.

    For `manage.py up`: on a developer's machine the reason is a wrong URL. In production a process starts
    without Redis.
    """
    try:
        redis.client().ping()
    except redis_library.RedisError as error:
        raise StartupRefused(f"REDIS_URL cannot be reached: {error}") from None


def _check_redis() -> None:
    """Check the servers of REDIS_URL and CACHE_REDIS_URL. Raises StartupRefused, RedisError."""
    info = redis.client().info()
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        log.warning("redis_may_evict", policy=policy, advice="set maxmemory-policy noeviction on REDIS_URL")
    check_redis_version(info, "REDIS_URL")
    cache_info = get_redis_connection("default").info()
    if cache_info.get("run_id") != info.get("run_id"):
        check_redis_version(cache_info, "CACHE_REDIS_URL")


def check_redis_version(info: dict[str, Any], variable: str) -> None:
    """Check the version in the result of INFO of the server that `variable` names.

    Raises StartupRefused when it is too old, and in production when scripts could take over the server.
    """
    if not redis_versions.is_supported(info):
        raise StartupRefused(f"Redis 6.2 or newer is needed at {variable}.")
    if redis_versions.is_patched(info) or settings.REDIS_PATCHED_BY_VENDOR:
        return
    version = redis_versions.version_of(info)
    problem = (
        f"Version {version} at {variable} has known vulnerabilities (CVE-2025-49844 and others): use "
        f"{redis_versions.describe_patched_versions(info)}, or set REDIS_PATCHED_BY_VENDOR=true when the "
        "vendor of your package has corrected them."
    )
    if not settings.DEVELOPMENT:
        raise StartupRefused(problem)
    log.warning("redis_has_known_vulnerabilities", version=version, detail=problem)
