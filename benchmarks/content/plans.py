"""How PostgreSQL finds the rows: a whole table read for one request is a missing index."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

MANY = 500  # rows; reading a smaller table whole is no fault


@contextmanager
def watched() -> Iterator[set[str]]:
    """The large tables that statements of the block would read whole, each planned in its own transaction and
    context.
    """
    found: set[str] = set()
    large = _large_tables()

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")) and not many:
            with context["connection"].connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
                (plan,) = cursor.fetchone()
            parsed = json.loads(plan) if isinstance(plan, str) else plan
            found.update(name for name in _read_whole(parsed[0]["Plan"]) if name in large)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield found


def _large_tables() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > %s", [MANY])
        return {name for (name,) in cursor.fetchall()}


def _read_whole(plan: dict[str, Any]) -> Iterator[str]:
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for inner in plan.get("Plans", []):
        yield from _read_whole(inner)
