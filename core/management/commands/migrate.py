"""Django's migrate, run in context `system` and with a lock timeout.

Row-level security binds the owner of a table too: without the context a data migration would see no rows and
change nothing, and nobody would notice. With the timeout a migration that waits for a lock gives up instead
of stopping all traffic behind it; run it again.
"""

from typing import Any

from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db import connections

from core import tenancy
from core.storage.database import MIGRATION_LOCK_ID

LOCK_TIMEOUT = "5s"


class Command(DjangoMigrate):
    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        with connection.cursor() as cursor:
            # Two at once wait for each other; closing lets go.
            cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK_ID])
            cursor.execute(
                "SELECT set_config(%s, %s, false), set_config('lock_timeout', %s, false)",
                [tenancy.SETTING, tenancy.SYSTEM, LOCK_TIMEOUT],
            )
        try:
            super().handle(*args, **options)
        finally:
            connection.close()  # with it goes the context
