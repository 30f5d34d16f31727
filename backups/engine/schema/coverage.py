"""What a backup does not cover: what makes it impossible, and what it leaves out."""

from collections.abc import Iterable

from psycopg import sql

from backups.engine.errors import BackupRefused
from backups.engine.schema.catalogue import (
    IS_USER_SCHEMA,
    OTHER_POLICY_ROLES_QUERY,
    Connection,
    join_names,
    not_from_extension,
)
from backups.engine.table_names import TableName, format_table_name

# Types whose input function rejects every value, so that COPY cannot restore them.
TYPES_WITHOUT_INPUT = (
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
)


# Each query returns names. The sentence says what the backup does about them.
WARNING_QUERIES = {
    "Rows of unlogged tables are not included: {}.": f"""
        SELECT n.nspname, c.relname
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relpersistence = 'u' AND {IS_USER_SCHEMA}
            AND {not_from_extension("pg_class", "c")}
        ORDER BY 1, 2""",
    "Rows of foreign tables are not included: {}.": """
        SELECT n.nspname, c.relname
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'f'
        ORDER BY 1, 2""",
    "Rows of configuration tables of extensions are not included: {}.": """
        SELECT n.nspname, c.relname
        FROM pg_extension e
        JOIN pg_class c ON c.oid = ANY (e.extconfig)
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r'
        ORDER BY 1, 2""",
    "Invalid indexes are not included: {}.": f"""
        SELECT n.nspname, c.relname
        FROM pg_index x
        JOIN pg_class c ON c.oid = x.indexrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT x.indisvalid AND c.relkind = 'i' AND {IS_USER_SCHEMA}
        ORDER BY 1, 2""",
    "Subscriptions are not included: {}.": """
        SELECT subname
        FROM pg_subscription
        WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        ORDER BY 1""",
    "A new server needs the roles of policies before a restore: {}.": OTHER_POLICY_ROLES_QUERY,
    "Security labels are not included: {}.": """
        SELECT DISTINCT provider
        FROM pg_seclabel
        ORDER BY 1""",
    "These CHECKs use functions that are not immutable, so a restore may reject their rows: {}.": f"""
        SELECT DISTINCT coalesce(n.nspname, tn.nspname), coalesce(c.relname, t.typname), k.conname
        FROM pg_constraint k
        LEFT JOIN pg_class c ON c.oid = k.conrelid
        LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_type t ON t.oid = k.contypid
        LEFT JOIN pg_namespace tn ON tn.oid = t.typnamespace
        WHERE k.contype = 'c' AND k.convalidated
            AND {IS_USER_SCHEMA.replace("n.nspname", "coalesce(n.nspname, tn.nspname)")}
            AND (
                k.conbin::text LIKE '%SQLVALUEFUNCTION%'
                OR EXISTS (
                    SELECT
                    FROM regexp_matches(k.conbin::text, ':(?:op)?funcid (\\d+)', 'g') AS used
                    JOIN pg_proc p ON p.oid = used[1]::oid
                    WHERE p.provolatile <> 'i'
                )
            )
        ORDER BY 1, 2, 3""",
    # Faults of pg_dump 18: the name is not quoted, or a second constraint is added beside the inherited one.
    "pg_dump writes a statement that fails for these inherited NOT NULL constraints: {}.": f"""
        SELECT n.nspname, c.relname, k.conname
        FROM pg_constraint k
        JOIN pg_class c ON c.oid = k.conrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE k.contype = 'n' AND k.coninhcount > 0 AND NOT c.relispartition
            AND (k.conname <> quote_ident(k.conname) OR k.conislocal AND NOT k.convalidated)
            AND {IS_USER_SCHEMA}
        ORDER BY 1, 2, 3""",
    "Only a superuser can restore: {}.": f"""
        SELECT 'extension ' || e.extname
        FROM pg_extension e
        JOIN pg_available_extension_versions v ON (v.name, v.version) = (e.extname, e.extversion)
        WHERE v.superuser AND NOT v.trusted
        UNION ALL
        SELECT 'event trigger ' || evtname FROM pg_event_trigger t
        WHERE {not_from_extension("pg_event_trigger", "t")}
        UNION ALL
        SELECT 'operator class ' || c.opcname FROM pg_opclass c JOIN pg_namespace n ON n.oid = c.opcnamespace
        WHERE {IS_USER_SCHEMA} AND {not_from_extension("pg_opclass", "c")}
        UNION ALL
        SELECT 'operator family ' || f.opfname
        FROM pg_opfamily f JOIN pg_namespace n ON n.oid = f.opfnamespace
        WHERE {IS_USER_SCHEMA} AND {not_from_extension("pg_opfamily", "f")}
        UNION ALL
        SELECT 'function ' || p.proname
        FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_language l ON l.oid = p.prolang
        WHERE {IS_USER_SCHEMA} AND {not_from_extension("pg_proc", "p")}
            AND (
                NOT l.lanpltrusted AND p.prokind <> 'a'
                OR p.proleakproof
                OR 'internal'::regtype = ANY (p.proargtypes)
            )
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'i')
        UNION ALL
        SELECT 'type ' || t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE {IS_USER_SCHEMA} AND t.typtype = 'b' AND t.typelem = 0
            AND {not_from_extension("pg_type", "t")}
        UNION ALL
        SELECT 'cast to ' || t.typname FROM pg_cast c JOIN pg_type t ON t.oid = c.casttarget
        WHERE c.oid >= 16384 AND c.castmethod = 'b' AND {not_from_extension("pg_cast", "c")}
        UNION ALL
        SELECT 'foreign-data wrapper ' || w.fdwname FROM pg_foreign_data_wrapper w
        WHERE w.oid >= 16384 AND {not_from_extension("pg_foreign_data_wrapper", "w")}
        UNION ALL
        SELECT 'access method ' || m.amname FROM pg_am m
        WHERE m.oid >= 16384 AND {not_from_extension("pg_am", "m")}
        UNION ALL
        SELECT 'language ' || l.lanname FROM pg_language l
        WHERE l.oid >= 16384 AND {not_from_extension("pg_language", "l")}
        UNION ALL
        SELECT 'text search parser ' || p.prsname FROM pg_ts_parser p
        WHERE p.oid >= 16384 AND {not_from_extension("pg_ts_parser", "p")}
        UNION ALL
        SELECT 'text search template ' || t.tmplname FROM pg_ts_template t
        WHERE t.oid >= 16384 AND {not_from_extension("pg_ts_template", "t")}
        UNION ALL
        SELECT 'publication ' || p.pubname FROM pg_publication p
        WHERE p.puballtables OR EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid)
        ORDER BY 1""",
}

UNREADABLE_RELATIONS_QUERY = f"""
SELECT n.nspname, c.relname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND {IS_USER_SCHEMA} AND NOT has_table_privilege(c.oid, 'SELECT')
    AND {not_from_extension("pg_class", "c")}
ORDER BY 1, 2"""

COLUMNS_WITHOUT_INPUT_QUERY = f"""
SELECT n.nspname, c.relname, a.attname
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND {IS_USER_SCHEMA}
    AND a.attnum > 0 AND NOT a.attisdropped
    AND (a.atttypid::regtype::text = ANY (%(types)s) OR a.atttypid::regtype::text = ANY (%(arrays)s))
ORDER BY 1, 2, 3"""

REGCLASS_COLUMNS_QUERY = f"""
SELECT n.nspname, c.relname, a.attname
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND {IS_USER_SCHEMA}
    AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'regclass'::regtype
ORDER BY 1, 2, 3"""


# A restored child table lists its inherited columns first, so that its row type can change.
INHERITED_ROW_TYPES_QUERY = f"""
SELECT n.nspname, c.relname, a.attname
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type base ON base.oid IN (t.oid, t.typelem)
JOIN pg_class used ON used.oid = base.typrelid
WHERE c.relkind IN ('r', 'c') AND {IS_USER_SCHEMA} AND NOT a.attisdropped AND a.attnum > 0
    AND NOT used.relispartition AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = used.oid)
ORDER BY 1, 2, 3"""


def ensure_role_may_read(connection: Connection) -> None:
    """Raise BackupRefused, with names, when the role may not read tables or sequences."""
    if unreadable := connection.execute(UNREADABLE_RELATIONS_QUERY).fetchall():
        raise BackupRefused(f"The role may not read {join_names(unreadable)}. GRANT pg_read_all_data TO it.")


def ensure_everything_can_be_stored(connection: Connection) -> None:
    """Raise BackupRefused, with names, for what would make a backup incomplete or impossible to restore."""
    if connection.execute("SELECT FROM pg_largeobject_metadata LIMIT 1").fetchone() is not None:
        raise BackupRefused(
            "The database has large objects, which a backup does not include. Keep files in an object store."
        )
    types = {"types": list(TYPES_WITHOUT_INPUT), "arrays": [f"{name}[]" for name in TYPES_WITHOUT_INPUT]}
    if columns := connection.execute(COLUMNS_WITHOUT_INPUT_QUERY.replace("\\_%", "\\_%%"), types).fetchall():
        raise BackupRefused(f"PostgreSQL cannot read back values of the type of {join_names(columns)}.")
    if columns := connection.execute(INHERITED_ROW_TYPES_QUERY).fetchall():
        raise BackupRefused(
            f"{join_names(columns)} has the row type of a table that inherits columns. A restore can change"
            " the order of those columns."
        )
    for schema, table, column in connection.execute(REGCLASS_COLUMNS_QUERY).fetchall():
        statement = sql.SQL(
            "SELECT FROM ONLY {} t JOIN pg_class c ON c.oid = t.{} WHERE c.relkind IN ('i', 'I') LIMIT 1"
        )
        reference = statement.format(sql.Identifier(schema, table), sql.Identifier(column))
        if connection.execute(reference).fetchone() is not None:
            raise BackupRefused(
                f"{format_table_name((schema, table))} has rows that name an index in {column}; indexes are"
                " created after the rows."
            )


def list_warnings(connection: Connection, *, expected_names: Iterable[TableName] = ()) -> list[str]:
    """Return sentences about objects that the backup leaves out, or that not every role can restore.

    `expected_names` are tables that need no warning.
    """
    expected = {tuple(name) for name in expected_names}
    warnings = []
    for sentence, query in WARNING_QUERIES.items():
        names = [row for row in connection.execute(query).fetchall() if tuple(row) not in expected]
        if "unlogged" in sentence:
            names = [name for name in names if _has_rows(connection, name)]
        if names:
            warnings.append(sentence.format(join_names(names)))
    return warnings


def _has_rows(connection: Connection, name: tuple[str, str]) -> bool:
    statement = sql.SQL("SELECT FROM ONLY {} LIMIT 1").format(sql.Identifier(*name))
    return connection.execute(statement).fetchone() is not None
