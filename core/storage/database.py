"""Distinguishes an unavailable database from a bug, and holds ids of advisory locks."""

from django.db import DatabaseError, InterfaceError, OperationalError, connection

LIMIT_EXCEEDED_CLASS = (
    "54"  # class of SQLSTATEs "program limit exceeded", such as a value too large for an index
)
READ_ONLY_TRANSACTION = "25006"  # SQLSTATE: the server has become a standby
# The advisory lock that `manage.py migrate` holds; a running backup stops when migrate waits for it ("migrate").
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
