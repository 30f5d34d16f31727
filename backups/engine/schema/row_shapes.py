"""What the text of a row depends on beside its row version."""

import hashlib

from backups.engine.schema.catalogue import Connection, fetch_column

# Everything that can change the text of a row without a new row version: the file of the table, its columns
# and generation expressions, the parts of composite, enum, domain, range and array types, and the versions
# of extensions, which define types.
ROW_SHAPES_QUERY = """
WITH RECURSIVE used (table_oid, type_oid) AS (
    SELECT a.attrelid, a.atttypid
    FROM pg_attribute a
    WHERE a.attrelid = ANY (%(tables)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT used.table_oid, part.type_oid
    FROM used
    JOIN pg_type t ON t.oid = used.type_oid
    CROSS JOIN LATERAL (
        SELECT t.typelem
        UNION ALL
        SELECT t.typbasetype
        UNION ALL
        SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
        UNION ALL
        SELECT a.atttypid
        FROM pg_attribute a
        WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS part (type_oid)
    WHERE part.type_oid <> 0
), types AS (
    SELECT
        used.table_oid,
        bool_or(t.typname LIKE 'reg%%' OR t.typname = 'aclitem') AS names_objects,
        string_agg(
            concat_ws(
                '|',
                t.oid,
                (
                    SELECT string_agg(concat_ws(',', e.oid, e.enumlabel), ';' ORDER BY e.oid)
                    FROM pg_enum e
                    WHERE e.enumtypid = t.oid
                ),
                (
                    SELECT string_agg(
                        concat_ws(
                            ',',
                            a.attnum,
                            a.attname,
                            format_type(a.atttypid, a.atttypmod),
                            a.attmissingval::text
                        ),
                        ';' ORDER BY a.attnum
                    )
                    FROM pg_attribute a
                    WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
                )
            ),
            ';' ORDER BY t.oid
        ) FILTER (WHERE t.oid >= 16384) AS definition
    FROM used
    JOIN pg_type t ON t.oid = used.type_oid
    GROUP BY used.table_oid
)
SELECT c.oid::bigint, coalesce(types.names_objects, false), concat_ws(
    '|',
    pg_relation_filenode(c.oid),
    c.relam,
    (
        SELECT string_agg(
            concat_ws(
                ',',
                a.attnum,
                a.attname,
                format_type(a.atttypid, a.atttypmod),
                a.attgenerated,
                a.attmissingval::text,
                CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END
            ),
            ';' ORDER BY a.attnum
        )
        FROM pg_attribute a
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ),
    types.definition,
    (
        SELECT string_agg(concat_ws(',', x.extname, x.extversion), ';' ORDER BY x.extname)
        FROM pg_extension x
    )
)
FROM pg_class c
LEFT JOIN types ON types.table_oid = c.oid
WHERE c.oid = ANY (%(tables)s::oid[])"""

# The names that values of reg* types and of aclitem are written with.
OBJECT_NAMES_QUERY = r"""
SELECT md5(string_agg(name, ';' ORDER BY name))
FROM (
    SELECT concat_ws(',', 'class', c.oid, n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp%'
    UNION ALL
    SELECT concat_ws(',', 'type', t.oid, n.nspname, t.typname)
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp%'
    UNION ALL
    SELECT concat_ws(',', 'function', p.oid, p.oid::regprocedure) FROM pg_proc p
    UNION ALL
    SELECT concat_ws(',', 'operator', o.oid, o.oid::regoperator) FROM pg_operator o
    UNION ALL
    SELECT concat_ws(',', 'schema', n.oid, n.nspname) FROM pg_namespace n
    UNION ALL
    SELECT concat_ws(',', 'role', r.oid, r.rolname) FROM pg_roles r
    UNION ALL
    SELECT concat_ws(',', 'configuration', t.oid, t.oid::regconfig) FROM pg_ts_config t
    UNION ALL
    SELECT concat_ws(',', 'dictionary', t.oid, t.oid::regdictionary) FROM pg_ts_dict t
    UNION ALL
    SELECT concat_ws(',', 'collation', c.oid, c.oid::regcollation) FROM pg_collation c
) AS object (name)"""


def row_shapes(connection: Connection, oids: list[int]) -> dict[int, str]:
    """Return a digest for each table: what the text of its rows depends on, but for the row versions."""
    rows = connection.execute(ROW_SHAPES_QUERY, {"tables": oids}).fetchall()
    object_names = ""
    if any(names_objects for _, names_objects, _ in rows):
        object_names = fetch_column(connection, OBJECT_NAMES_QUERY)[0]
    return {
        oid: hashlib.sha256(f"{text}|{object_names if names_objects else ''}".encode()).hexdigest()
        for oid, names_objects, text in rows
    }
