"""Django's migrate, in tenancy context `system`, with a lock timeout and one at a time.

Row-level security applies to the owner of a table too. Without the context a data migration would see no
rows, change nothing and report success. A migration that waits for a lock makes all later queries of the
table wait behind it; with the timeout it fails instead, and can be run again.
"""

from typing import Any

from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db import connections

from core import tenancy
from core.storage.database import MIGRATION_LOCK_ID

LOCK_TIMEOUT = "5s"  # as PostgreSQL writes a time


class Command(DjangoMigrate):
    """Run Django's migrate as described above."""

    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        with connection.cursor() as cursor:
            # A second migrate waits here. Closing the connection below releases the lock.
            cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK_ID])
            cursor.execute(
                "SELECT set_config(%s, %s, false), set_config('lock_timeout', %s, false)",
                [tenancy.SETTING, tenancy.SYSTEM, LOCK_TIMEOUT],
            )
        try:
            super().handle(*args, **options)
        finally:
            connection.close()  # also ends the context, which is set for the session
