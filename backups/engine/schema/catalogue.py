"""Reads the catalogue of a database: what a restore needs to know beside the dump of the schema."""

from collections.abc import Iterable
from typing import Any

import psycopg

from backups.engine.table_names import TableName

Connection = psycopg.Connection[Any]
MAX_NAMES = 5  # in a message
IS_USER_SCHEMA = "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"


def not_from_extension(catalogue: str, alias: str) -> str:
    """Return a condition: the object was not created by an extension, which would create it again."""
    return (
        f"NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = '{catalogue}'::regclass"
        f" AND x.objid = {alias}.oid AND x.deptype = 'e')"
    )


def join_names(rows: Iterable[tuple[str, ...]]) -> str:
    """Return names as text: `schema.table.column`, at most MAX_NAMES of them."""
    names = [".".join(row) for row in rows]
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


POLICY_ROLES_QUERY = """
SELECT DISTINCT r.rolname
FROM pg_policy p, unnest(p.polroles) AS role(oid)
JOIN pg_roles r ON r.oid = role.oid
WHERE r.rolname NOT LIKE 'pg\\_%'
ORDER BY 1"""
OTHER_POLICY_ROLES_QUERY = POLICY_ROLES_QUERY.replace("ORDER", "AND r.rolname <> current_user ORDER")

GRANT_ROLES_QUERY = f"""
SELECT DISTINCT r.rolname
FROM (
    SELECT c.relacl AS acl
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {IS_USER_SCHEMA}
    UNION ALL
    SELECT n.nspacl FROM pg_namespace n WHERE {IS_USER_SCHEMA}
    UNION ALL
    SELECT p.proacl FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {IS_USER_SCHEMA}
    UNION ALL
    SELECT t.typacl FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE {IS_USER_SCHEMA}
) AS object
CROSS JOIN aclexplode(object.acl) AS privilege
JOIN pg_roles r ON r.oid = privilege.grantee
WHERE r.rolname NOT LIKE 'pg\\_%' AND r.rolname <> current_user
ORDER BY 1"""

EXTENSIONS_QUERY = "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1"

POPULATED_VIEWS_QUERY = f"""
SELECT n.nspname, c.relname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND c.relispopulated AND {IS_USER_SCHEMA} AND {not_from_extension("pg_class", "c")}
ORDER BY c.oid"""

# pg_dump adds a constraint that is not validated to the parent, and with it to the children, not validated.
VALIDATED_CHILDREN_QUERY = f"""
SELECT n.nspname, c.relname, k.conname
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.convalidated AND k.contype IN ('c', 'n') AND {IS_USER_SCHEMA}
    AND EXISTS (
        SELECT
        FROM pg_inherits i
        JOIN pg_constraint parent ON parent.conrelid = i.inhparent
        WHERE i.inhrelid = k.conrelid AND NOT parent.convalidated AND parent.contype = k.contype
            AND (parent.conname = k.conname OR parent.conkey = k.conkey)
    )
ORDER BY 1, 2, 3"""

# What pg_dump leaves out on purpose is not counted: extensions' objects and invalid indexes.
OBJECT_COUNTS_QUERY = f"""
SELECT concat('relation ', c.relkind), count(*)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index x ON x.indexrelid = c.oid
WHERE {IS_USER_SCHEMA} AND {not_from_extension("pg_class", "c")} AND (x.indisvalid OR c.relkind <> 'i')
GROUP BY 1
UNION ALL
SELECT 'valid index', count(*)
FROM pg_index x
JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {IS_USER_SCHEMA} AND {not_from_extension("pg_class", "c")} AND x.indisvalid
UNION ALL
SELECT concat('constraint ', k.contype), count(*)
FROM pg_constraint k
JOIN pg_namespace n ON n.oid = k.connamespace
WHERE {IS_USER_SCHEMA} AND {not_from_extension("pg_constraint", "k")}
GROUP BY 1
UNION ALL
SELECT 'validated constraint', count(*)
FROM pg_constraint k
JOIN pg_namespace n ON n.oid = k.connamespace
WHERE {IS_USER_SCHEMA} AND {not_from_extension("pg_constraint", "k")} AND k.convalidated
UNION ALL
SELECT concat('function ', p.prokind), count(*)
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE {IS_USER_SCHEMA} AND {not_from_extension("pg_proc", "p")}
GROUP BY 1
UNION ALL
SELECT concat('type ', t.typtype), count(*)
FROM pg_type t
JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE {IS_USER_SCHEMA} AND {not_from_extension("pg_type", "t")}
GROUP BY 1
UNION ALL
SELECT concat('trigger ', t.tgenabled, CASE WHEN t.tgisinternal THEN ' internal' END), count(*)
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {IS_USER_SCHEMA} AND {not_from_extension("pg_class", "c")}
GROUP BY 1
UNION ALL
SELECT concat('policy ', p.polcmd), count(*)
FROM pg_policy p
GROUP BY 1
UNION ALL
SELECT 'table with row-level security', count(*)
FROM pg_class c
WHERE c.relrowsecurity
UNION ALL
SELECT 'table with forced row-level security', count(*)
FROM pg_class c
WHERE c.relforcerowsecurity
UNION ALL
SELECT concat('rule ', r.ev_type), count(*)
FROM pg_rewrite r
JOIN pg_class c ON c.oid = r.ev_class
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {IS_USER_SCHEMA} AND {not_from_extension("pg_class", "c")}
GROUP BY 1
ORDER BY 1"""


def count_objects(connection: Connection) -> dict[str, int]:
    """Return how many objects of each kind there are."""
    return {str(kind): int(count) for kind, count in connection.execute(OBJECT_COUNTS_QUERY).fetchall()}


def describe_for_restore(connection: Connection) -> dict[str, Any]:
    """Return what a restore needs beside the schema: roles, extensions, filled views, counts.

    `policy_roles` must exist before the schema is restored. `grant_roles` are for information, because grants
    are not restored.
    """
    return {
        "policy_roles": fetch_column(connection, POLICY_ROLES_QUERY),
        "grant_roles": fetch_column(connection, GRANT_ROLES_QUERY),
        "extensions": fetch_column(connection, EXTENSIONS_QUERY),
        "populated_views": [list(row) for row in connection.execute(POPULATED_VIEWS_QUERY).fetchall()],
        "validated_children": [list(row) for row in connection.execute(VALIDATED_CHILDREN_QUERY).fetchall()],
        "objects": count_objects(connection),
    }


def fetch_column(connection: Connection, query: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(query).fetchall()]


# Partitions by hash: the hash of an enum depends on numbers that differ in every database, so that the same
# rows can belong to other partitions. Their rows are loaded through the topmost table that hashes.
HASHED_PARENTS_QUERY = """
WITH RECURSIVE ancestors (leaf, ancestor, depth) AS (
    SELECT i.inhrelid, i.inhparent, 1 FROM pg_inherits i
    UNION ALL
    SELECT ancestors.leaf, i.inhparent, depth + 1
    FROM ancestors
    JOIN pg_inherits i ON i.inhrelid = ancestors.ancestor
)
SELECT DISTINCT ON (ancestors.leaf) ancestors.leaf::bigint, n.nspname, c.relname
FROM ancestors
JOIN pg_partitioned_table p ON p.partrelid = ancestors.ancestor AND p.partstrat = 'h'
JOIN pg_class c ON c.oid = ancestors.ancestor
JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY ancestors.leaf, depth DESC"""


def hashed_parents(connection: Connection) -> dict[int, TableName]:
    """Return the table through which a hash partition's rows are loaded, by the oid of the partition."""
    rows = connection.execute(HASHED_PARENTS_QUERY).fetchall()
    return {oid: TableName(schema, name) for oid, schema, name in rows}


def list_columns(connection: Connection, oids: list[int], *, generated: bool) -> dict[int, tuple[str, ...]]:
    """Return the names of the columns by the oid of the table, with or without generated ones."""
    rows = connection.execute(
        """
        SELECT attrelid::bigint, array_agg(attname::text ORDER BY attnum)
        FROM pg_attribute
        WHERE attrelid = ANY (%s::oid[]) AND attnum > 0 AND NOT attisdropped AND (%s OR attgenerated = '')
        GROUP BY attrelid""",
        [oids, generated],
    )
    return {oid: tuple(names) for oid, names in rows.fetchall()}
