"""Finds large tables that a statement reads completely, which shows that an index is missing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

LARGE_TABLE_ROWS = 500  # a complete scan of a smaller table is fast enough


@contextmanager
def record_full_scans() -> Iterator[set[str]]:
    """Collect the large tables that statements of the block would scan completely.

    EXPLAIN runs before each statement, in the same transaction and tenancy context.
    """
    full_scans: set[str] = set()
    large_tables = _large_tables()

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")) and not many:
            with context["connection"].connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
                (plan,) = cursor.fetchone()
            parsed = json.loads(plan) if isinstance(plan, str) else plan
            full_scans.update(name for name in _scanned_tables(parsed[0]["Plan"]) if name in large_tables)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield full_scans


def _large_tables() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > %s", [LARGE_TABLE_ROWS]
        )
        return {name for (name,) in cursor.fetchall()}


def _scanned_tables(plan: dict[str, Any]) -> Iterator[str]:
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for child in plan.get("Plans", []):
        yield from _scanned_tables(child)
