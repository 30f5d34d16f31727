"""Telling "the database is away" from a bug."""

from django.db import DatabaseError, InterfaceError, OperationalError, connection

LIMIT_EXCEEDED = "54"  # SQLSTATE class: a value too large for an index is a bug of ours, not an outage
MIGRATION_LOCK_ID = (
    0x6D696772617465  # "migrate": the advisory lock that the command holds; long readers get out of its way
)
READ_ONLY_TRANSACTION = "25006"  # SQLSTATE: a primary that became a standby


def is_unavailable(exc: BaseException) -> bool:
    """Whether `exc` says that the database is gone, full or read-only.

    A read-only connection is not used again.
    """
    if isinstance(exc, DatabaseError) and getattr(exc.__cause__, "sqlstate", None) == READ_ONLY_TRANSACTION:
        if connection.connection is not None:
            connection.connection.close()  # closed under the pool, which then replaces it
        return True
    if str(getattr(exc.__cause__, "sqlstate", "") or "").startswith(LIMIT_EXCEEDED):
        return False
    return isinstance(exc, OperationalError | InterfaceError)
