"""Prometheus metrics of space: the size of the database, and the file system of VAR_DIR."""

import shutil
from collections.abc import Iterator

from django.conf import settings
from django.db import connection
from prometheus_client.core import Metric

from core.observability.store_metrics import gauge, labelled_gauge


def collect_disk() -> Iterator[Metric]:
    """Yield the size and the free space of the file system that holds VAR_DIR. Raises OSError."""
    path = str(settings.VAR_DIR)
    usage = shutil.disk_usage(path)
    yield labelled_gauge(
        "disk_size_bytes", "Size of the file system of a folder.", ["path"], [([path], usage.total)]
    )
    yield labelled_gauge(
        "disk_free_bytes",
        "Bytes that this process may still write to the file system of a folder.",
        ["path"],
        [([path], usage.free)],
    )


def collect_database() -> Iterator[Metric]:
    """Yield the size of the database. One query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        size = cursor.fetchone()[0]
    yield gauge("database_size_bytes", "Bytes of the database, with its indexes.", size)
