"""Telling "the database is away" from a bug."""

from django.db import DatabaseError, InterfaceError, OperationalError, connection

READ_ONLY_TRANSACTION = "25006"  # SQLSTATE: a primary that became a standby


def is_away(exc: BaseException) -> bool:
    """Whether `exc` says that the database is gone, full or read-only. A read-only connection is not used again."""
    if isinstance(exc, DatabaseError) and getattr(exc.__cause__, "sqlstate", None) == READ_ONLY_TRANSACTION:
        if connection.connection is not None:
            connection.connection.close()  # closed under the pool, which then replaces it
        return True
    return isinstance(exc, OperationalError | InterfaceError)
