"""Random schemas and random changes between runs: the restored database is the same as the source."""

import os
from collections import Counter

import psycopg
import pytest
from psycopg import sql

from backups.tests.engine.random_schema import RandomSchema
from backups.tests.engine.test_restore_cases import restore_and_compare
from backups.tests.helpers import BackupChain, dump_lines

ROUNDS = 100 if os.environ.get("SOAK") else 10
MIN_KINDS = 15
TABLES_QUERY = """
SELECT n.nspname, c.relname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg%' AND n.nspname <> 'information_schema'
ORDER BY 1, 2"""


def rows_by_table(dsn):
    """The rows of every table, with the columns in the order of their names."""
    rows = {}
    with psycopg.connect(dsn) as connection:
        connection.execute("SET timezone = 'UTC'")
        for name in connection.execute(TABLES_QUERY).fetchall():
            statement = sql.SQL("SELECT to_jsonb(t)::text FROM ONLY {} t").format(sql.Identifier(*name))
            rows[name] = Counter(row[0] for row in connection.execute(statement).fetchall())
    return rows


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_restore_backup_brings_back_a_random_schema(seed, create_database, store, keys):
    source = create_database()
    schema = RandomSchema(source, seed)
    schema.create(45)
    chain = BackupChain(source, store, keys)
    chain.take()
    schema.change(15)
    chain.take()
    schema.change(5)
    chain.take()
    target = create_database()

    restore_and_compare(chain, target)

    assert len(schema.kinds) >= MIN_KINDS, schema.kinds
    assert dump_lines(target) == dump_lines(source)
    assert rows_by_table(target) == rows_by_table(source)
