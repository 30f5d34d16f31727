"""The schema of a database as SQL statements, read from the catalogue.

No client program must have the server's version. `before` is executed before the rows are loaded, `after`
behind them. Within each the order is not significant: the caller repeats statements that depend on later
ones. Owners, grants and comments are not included: the role that restores owns everything.
"""

from typing import Any

import psycopg

from backups.engine.errors import BackupRefused
from backups.engine.source import IS_USER_SCHEMA

# Objects that an extension made come with it.
MINE = (
    "NOT EXISTS (SELECT FROM pg_depend d"
    " WHERE d.classid = '{0}'::regclass AND d.objid = {1}.oid AND d.deptype = 'e')"
)


def _mine(catalogue: str, alias: str) -> str:
    return MINE.format(catalogue, alias)


IN_SCHEMA = f"JOIN pg_namespace n ON n.oid = {{0}}.{{1}} WHERE {IS_USER_SCHEMA}"
COLUMN = """concat(quote_ident(a.attname), ' ', format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attcollation <> t.typcollation THEN (SELECT ' COLLATE ' || quote_ident(cn.nspname) || '.' || quote_ident(co.collname)
        FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = a.attcollation) END,
    CASE WHEN a.attgenerated = 's' THEN ' GENERATED ALWAYS AS (' || pg_get_expr(ad.adbin, ad.adrelid) || ') STORED'
         WHEN a.attidentity <> '' THEN (SELECT format(' GENERATED %s AS IDENTITY (SEQUENCE NAME %I.%I INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s%s)',
            CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, sn.nspname, sc.relname, s.seqincrement, s.seqmin, s.seqmax,
            s.seqstart, s.seqcache, CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END)
            FROM pg_depend d JOIN pg_class sc ON sc.oid = d.objid JOIN pg_namespace sn ON sn.oid = sc.relnamespace JOIN pg_sequence s ON s.seqrelid = sc.oid
            WHERE d.classid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.deptype = 'i')
         WHEN ad.adbin IS NOT NULL THEN ' DEFAULT ' || pg_get_expr(ad.adbin, ad.adrelid) END,
    CASE WHEN a.attnotnull THEN ' NOT NULL' END)"""
BEFORE = {
    "schemas": f"SELECT format('CREATE SCHEMA IF NOT EXISTS %I', n.nspname) FROM pg_namespace n WHERE {IS_USER_SCHEMA} AND {_mine('pg_namespace', 'n')}",
    "extensions": "SELECT format('CREATE EXTENSION IF NOT EXISTS %I WITH SCHEMA %I', x.extname, n.nspname) FROM pg_extension x "
    "JOIN pg_namespace n ON n.oid = x.extnamespace WHERE x.extname <> 'plpgsql'",
    "enums": f"SELECT format('CREATE TYPE %I.%I AS ENUM (%s)', n.nspname, t.typname, (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) "
    f"FROM pg_enum e WHERE e.enumtypid = t.oid)) FROM pg_type t {IN_SCHEMA.format('t', 'typnamespace')} AND t.typtype = 'e' AND {_mine('pg_type', 't')}",
    "domains": f"SELECT concat(format('CREATE DOMAIN %I.%I AS %s', n.nspname, t.typname, format_type(t.typbasetype, t.typtypmod)), ' DEFAULT ' || t.typdefault, "
    f"CASE WHEN t.typnotnull THEN ' NOT NULL' END, (SELECT string_agg(format(' CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), '') FROM pg_constraint k "
    f"WHERE k.contypid = t.oid AND k.contype = 'c')) FROM pg_type t {IN_SCHEMA.format('t', 'typnamespace')} AND t.typtype = 'd' AND {_mine('pg_type', 't')}",
    "composites": f"SELECT format('CREATE TYPE %I.%I AS (%s)', n.nspname, c.relname, (SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), "
    f"', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)) FROM pg_class c {IN_SCHEMA.format('c', 'relnamespace')} AND c.relkind = 'c' AND {_mine('pg_class', 'c')}",
    "sequences": f"SELECT format('CREATE SEQUENCE %I.%I AS %s INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s%s', n.nspname, c.relname, format_type(s.seqtypid, NULL), "
    f"s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache, CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END) FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid {IN_SCHEMA.format('c', 'relnamespace')} "
    f"AND {_mine('pg_class', 'c')} AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i')",
    "functions": f"SELECT pg_get_functiondef(p.oid) FROM pg_proc p {IN_SCHEMA.format('p', 'pronamespace')} AND p.prokind IN ('f', 'p') AND {_mine('pg_proc', 'p')}",
    "tables": f"""SELECT concat('CREATE ', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' END, format('TABLE %I.%I (%s)', n.nspname, c.relname,
        (SELECT string_agg({COLUMN}, ', ' ORDER BY a.attnum) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)), ' PARTITION BY ' || pg_get_partkeydef(c.oid), ' WITH (' || array_to_string(c.reloptions, ', ') || ')')
        FROM pg_class c {IN_SCHEMA.format("c", "relnamespace")} AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {_mine("pg_class", "c")}""",
    "partitions": f"SELECT format('ALTER TABLE %s ATTACH PARTITION %I.%I %s', i.inhparent::regclass, n.nspname, c.relname, pg_get_expr(c.relpartbound, c.oid)) FROM pg_inherits i "
    f"JOIN pg_class c ON c.oid = i.inhrelid {IN_SCHEMA.format('c', 'relnamespace')} AND c.relispartition AND c.relkind IN ('r', 'p')",
}
TABLE_OF = "JOIN pg_class c ON c.oid = {0} JOIN pg_namespace n ON n.oid = c.relnamespace"
AFTER = {
    "keys": f"SELECT format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid)) FROM pg_constraint k {TABLE_OF.format('k.conrelid')} "
    f"WHERE {IS_USER_SCHEMA} AND k.contype IN ('p', 'u', 'x', 'c') AND k.conparentid = 0 AND k.coninhcount = 0 AND {_mine('pg_class', 'c')} ORDER BY k.contype = 'c'",
    "indexes": f"SELECT pg_get_indexdef(x.indexrelid) FROM pg_index x {TABLE_OF.format('x.indrelid')} WHERE {IS_USER_SCHEMA} AND {_mine('pg_class', 'c')} AND c.relkind IN ('r', 'p', 'm') "
    "AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.indexrelid AND k.contype IN ('p', 'u', 'x')) AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = x.indexrelid)",
    "statistics": (
        "SELECT pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s "
        + IN_SCHEMA.format("s", "stxnamespace")
    ),
    "foreign keys": f"SELECT format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid)) FROM pg_constraint k {TABLE_OF.format('k.conrelid')} "
    f"WHERE {IS_USER_SCHEMA} AND k.contype = 'f' AND k.conparentid = 0 AND {_mine('pg_class', 'c')}",
    "views": f"SELECT concat(format('CREATE %s %I.%I', CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, n.nspname, c.relname), ' WITH (' || array_to_string(c.reloptions, ', ') || ')', "
    f"' AS ', pg_get_viewdef(c.oid)) FROM pg_class c {IN_SCHEMA.format('c', 'relnamespace')} AND c.relkind IN ('v', 'm') AND {_mine('pg_class', 'c')}",
    "owned sequences": f"SELECT format('ALTER SEQUENCE %I.%I OWNED BY %s.%I', n.nspname, c.relname, d.refobjid::regclass, a.attname) FROM pg_depend d {TABLE_OF.format('d.objid')} "
    f"JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE {IS_USER_SCHEMA} AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND c.relkind = 'S' AND d.deptype = 'a'",
    "triggers": f"SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t {TABLE_OF.format('t.tgrelid')} WHERE {IS_USER_SCHEMA} AND NOT t.tgisinternal AND t.tgparentid = 0",
    "trigger states": f"SELECT format('ALTER TABLE %I.%I %s TRIGGER %I', n.nspname, c.relname, CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, t.tgname) "
    f"FROM pg_trigger t {TABLE_OF.format('t.tgrelid')} WHERE {IS_USER_SCHEMA} AND NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled <> 'O'",
    "rules": (
        f"SELECT pg_get_ruledef(r.oid) FROM pg_rewrite r {TABLE_OF.format('r.ev_class')}"
        f" WHERE {IS_USER_SCHEMA} AND r.rulename <> '_RETURN'"
    ),
    "policies": f"""SELECT concat(format('CREATE POLICY %I ON %I.%I AS %s FOR %s TO %s', p.polname, n.nspname, c.relname, CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
        CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
        (SELECT string_agg(CASE WHEN r = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ') FROM unnest(p.polroles) AS r)),
        ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
        FROM pg_policy p {TABLE_OF.format("p.polrelid")} WHERE {IS_USER_SCHEMA}""",
    "row security": f"SELECT format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY', n.nspname, c.relname) FROM pg_class c {IN_SCHEMA.format('c', 'relnamespace')} AND c.relrowsecurity",
    "forced row security": f"SELECT format('ALTER TABLE %I.%I FORCE ROW LEVEL SECURITY', n.nspname, c.relname) FROM pg_class c {IN_SCHEMA.format('c', 'relnamespace')} AND c.relforcerowsecurity",
}
INHERITED = f"SELECT i.inhrelid::regclass::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid {IN_SCHEMA.format('c', 'relnamespace')} AND NOT c.relispartition AND c.relkind = 'r'"


def schema_of(connection: psycopg.Connection[Any]) -> dict[str, dict[str, list[str]]]:
    """Statements by phase and sort, as the transaction of `connection` sees the catalogue. Raises Refused."""
    if inherited := [row[0] for row in connection.execute(INHERITED).fetchall()]:
        raise BackupRefused(
            f"Tables that inherit columns are not taken: {', '.join(inherited[:5])}. Partitions are."
        )
    return {
        phase: {
            name: [row[0] for row in connection.execute(statement).fetchall()]
            for name, statement in kinds.items()
        }
        for phase, kinds in {"before": BEFORE, "after": AFTER}.items()
    }
