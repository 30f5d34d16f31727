"""Runs the platform in this process on private servers, for benchmarks that need no HTTP."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config import embedded_servers

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def private_platform(name: str) -> Iterator[None]:
    """Start a new, migrated PostgreSQL and a Redis with durable settings, and set up Django on them.

    Their folder is `var/bench-<name>`. They stop when the block ends.
    """
    var_dir = ROOT / "var" / f"bench-{name}"
    for variable in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(variable, None)
    os.environ.update(
        ENVIRONMENT="development",
        VAR_DIR=str(var_dir),
        LOG_LEVEL="CRITICAL",
        DJANGO_SETTINGS_MODULE="config.settings",
    )
    shutil.rmtree(var_dir, ignore_errors=True)  # the data of an earlier run would be measured too
    with embedded_servers.running_servers(var_dir) as urls:
        os.environ.update(urls)
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        yield
