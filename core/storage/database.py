"""Tells an unavailable database from a bug; its clock; the advisory lock id of `migrate`."""

from datetime import datetime

from django.db import DatabaseError, InterfaceError, OperationalError, connection

# SQLSTATE class "program limit exceeded", for example a value that is too large for an index.
LIMIT_EXCEEDED_CLASS = "54"
# SQLSTATE "read_only_sql_transaction": the server has become a standby.
READ_ONLY_TRANSACTION = "25006"
# The advisory lock ("migrate" in ASCII) that `manage.py migrate` holds. A running backup stops for it.
MIGRATION_LOCK_ID = 0x6D696772617465


def is_unavailable(exc: BaseException) -> bool:
    """Return whether `exc` means that the database is unreachable, full or read-only.

    Closes the connection when it is read-only, so that the next request connects to the new primary.
    """
    sqlstate = str(getattr(exc.__cause__, "sqlstate", "") or "")
    if isinstance(exc, DatabaseError) and sqlstate == READ_ONLY_TRANSACTION:
        if connection.connection is not None:
            connection.connection.close()  # the pool notices the closed connection and replaces it
        return True
    if sqlstate.startswith(LIMIT_EXCEEDED_CLASS):  # an OperationalError, but a bug of ours
        return False
    return isinstance(exc, OperationalError | InterfaceError)


def table_exists(name: str) -> bool:
    """Return whether the database has this table.

    Receivers of `post_migrate` also run when it was migrated away.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
        return bool(cursor.fetchone()[0])


def current_time() -> datetime:
    """Return the time of the database server, which all processes share. One query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now
