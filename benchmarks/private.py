"""The platform in this process, on servers of its own with durable defaults: for what is measured without
HTTP.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config import embedded_servers

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def private(name: str) -> Iterator[None]:
    """Fresh PostgreSQL and Redis, migrated, until the block ends."""
    var = ROOT / "var" / f"bench-{name}"
    for variable in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(variable, None)
    os.environ.update(
        ENVIRONMENT="development",
        VAR_DIR=str(var),
        LOG_LEVEL="CRITICAL",
        DJANGO_SETTINGS_MODULE="config.settings",
    )
    shutil.rmtree(var, ignore_errors=True)  # what an earlier run left would be measured too
    with embedded_servers.running_servers(var) as urls:
        os.environ.update(urls)
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        yield
