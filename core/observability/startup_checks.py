"""What must hold before a process serves: a database role that row-level security binds, and a Redis that
keeps.
"""

from collections.abc import Callable

import redis as redis_library
import structlog
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection

from core.storage import redis

MINIMUM_POSTGRES = 150000
_also: list[Callable[[], None]] = []
log = structlog.get_logger(__name__)


class StartupRefused(SystemExit):
    """One clear line, exit code 1."""


def register_check(look: Callable[[], None]) -> None:
    """Let an app look before a process serves: it logs a warning, or raises BootRefused.

    For `AppConfig.ready()`.
    """
    _also.append(look)


def run_checks() -> None:
    """Raise BootRefused when this process must not serve. A Redis that evicts is warned about."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT rolsuper, rolbypassrls, current_setting('server_version_num')::int, to_regclass('public.backup_restore') IS NOT NULL"
                " FROM pg_roles WHERE rolname = current_user"
            )
            superuser, bypasses, version, half_restored = cursor.fetchone()
    except (OperationalError, ImproperlyConfigured) as error:
        raise StartupRefused(
            f"DATABASE_URL cannot be reached: {str(error).strip().splitlines()[0]}"
        ) from None
    finally:
        connection.close()
    if superuser or bypasses:
        raise StartupRefused(
            "DATABASE_URL names a role with SUPERUSER or BYPASSRLS: customers would not be kept apart. Use a plain role."
        )
    if half_restored:
        raise StartupRefused(
            "This database is a restore that did not finish. Go on with it (backup_restore --resume), or use another."
        )
    if version < MINIMUM_POSTGRES:
        raise StartupRefused("PostgreSQL 15 or newer is needed.")
    try:
        _check_redis()
    except redis_library.RedisError as error:
        log.warning("redis_away", detail=type(error).__name__)
    for look in _also:
        look()


def check_redis_url() -> None:
    """Raise BootRefused when nothing answers at REDIS_URL: for the first start, where it is a mistake in the
    URL.
    """
    try:
        redis.client().ping()
    except redis_library.RedisError as error:
        raise StartupRefused(f"REDIS_URL cannot be reached: {error}") from None


def _check_redis() -> None:
    facts = redis.client().info()
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        log.warning("redis_may_evict", policy=policy, advice="set maxmemory-policy noeviction on REDIS_URL")
    if tuple(int(part) for part in str(facts["redis_version"]).split(".")[:2]) < (6, 2):
        raise StartupRefused("Redis 6.2 or newer is needed at REDIS_URL.")
