"""What a backup refuses and what it warns about: every line of the list in docs/backups.md."""

import re

import psycopg
import pytest

from backups.engine.errors import BackupRefused
from backups.engine.schema import coverage
from backups.tests.helpers import BackupChain, run_sql
from config.env import BASE_DIR
from tests.database import superuser_dsn

REFUSED = {
    "large objects": ("SELECT lo_from_bytea(0, 'x')", "large objects"),
    "unreadable table": (
        "CREATE TABLE closed (a int); REVOKE ALL ON closed FROM getyousite",
        r"may not read public\.closed",
    ),
    "type without input": (
        "CREATE TABLE kept AS SELECT adbin FROM pg_attrdef",
        r"public\.kept\.adbin",
    ),
    "index in regclass": (
        "CREATE TABLE t (a int PRIMARY KEY, what regclass); INSERT INTO t VALUES (1, 't_pkey')",
        r"public\.t has rows that name an index in what",
    ),
    "row type of an inheriting table": (
        "CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent);"
        " CREATE TABLE holder (c child[])",
        r"public\.holder\.c",
    ),
}
WARNED = {
    "unlogged": (
        "CREATE UNLOGGED TABLE basket AS SELECT 1",
        "unlogged tables are not included: public.basket",
    ),
    "foreign": (
        "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER far FOREIGN DATA WRAPPER nothing;"
        " CREATE FOREIGN TABLE mirror (a int) SERVER far",
        "foreign tables are not included: public.mirror",
    ),
    "invalid index": (
        "CREATE TABLE t (a int); CREATE INDEX broken ON t (a);"
        " UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass",
        "Invalid indexes are not included: public.broken",
    ),
    "subscription": (
        "CREATE SUBSCRIPTION news CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false)",
        "Subscriptions are not included: news",
    ),
    "changing check": (
        "CREATE TABLE offer (until date CONSTRAINT still_open CHECK (until > current_date))",
        "a restore may reject their rows: public.offer.still_open",
    ),
    "event trigger": (
        "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        " CREATE EVENT TRIGGER watch ON sql_drop EXECUTE FUNCTION f()",
        "Only a superuser can restore: event trigger watch",
    ),
    "operator class": (
        "CREATE OPERATOR CLASS own FOR TYPE int USING btree AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int, int)",
        "operator class own",
    ),
    "base type": (
        "CREATE TYPE own;"
        " CREATE FUNCTION own_in(cstring) RETURNS own LANGUAGE internal IMMUTABLE STRICT AS 'int4in';"
        " CREATE FUNCTION own_out(own) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';"
        " CREATE TYPE own (INPUT = own_in, OUTPUT = own_out, LIKE = int4)",
        "type own",
    ),
    "function in C": (
        "CREATE FUNCTION f(internal) RETURNS internal LANGUAGE internal AS 'array_agg_array_deserialize'",
        "Only a superuser can restore: function f",
    ),
    "publication of all tables": ("CREATE PUBLICATION everything FOR ALL TABLES", "publication everything"),
    "inherited not null": (
        'CREATE TABLE parent (a int CONSTRAINT "needs quotes" NOT NULL);'
        " CREATE TABLE child () INHERITS (parent)",
        "inherited NOT NULL constraints: public.child.needs quotes",
    ),
}


@pytest.fixture
def make_chain(create_database, store, keys):
    """A function that makes a database with these objects, as a superuser, and returns its chain."""

    def make(statements):
        dsn = create_database()
        superuser = superuser_dsn(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])
        run_sql(superuser, "SET allow_system_table_mods = on", statements)
        run_sql(superuser, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO getyousite")
        if "REVOKE" in statements:
            run_sql(superuser, "REVOKE ALL ON closed FROM getyousite")
        if "SUBSCRIPTION" in statements:
            subscribed.append(superuser)
        return BackupChain(dsn, store, keys)

    subscribed = []
    yield make
    for superuser in subscribed:  # a database with a subscription cannot be dropped
        run_sql(superuser, "ALTER SUBSCRIPTION news SET (slot_name = NONE)", "DROP SUBSCRIPTION news")


@pytest.mark.parametrize("name", REFUSED)
def test_ensure_everything_can_be_stored_refuses(name, make_chain):
    statements, message = REFUSED[name]

    with pytest.raises(BackupRefused, match=message):
        make_chain(statements).take()


@pytest.mark.parametrize("name", WARNED)
def test_list_warnings_names(name, make_chain):
    statements, message = WARNED[name]

    warnings = make_chain(statements).take().schema.warnings

    assert message in " ".join(warnings)


def test_list_warnings_is_silent_about_expected_tables_and_empty_ones(make_chain):
    chain = make_chain("CREATE UNLOGGED TABLE expected AS SELECT 1; CREATE UNLOGGED TABLE empty (a int)")

    with psycopg.connect(chain.source.dsn) as connection:
        warnings = coverage.list_warnings(connection, expected_names=[("public", "expected")])

    assert warnings == []


def test_backups_guide_lists_every_refusal_and_warning():
    guide = " ".join((BASE_DIR / "docs" / "backups.md").read_text().split())
    words = [
        *(
            "large objects",
            "may not read",
            "pg_node_tree",
            "names an index",
            "row type of a table that inherits",
        ),
        *("unlogged table", "foreign table", "configuration tables of extensions", "index is not valid"),
        *("subscriptions", "security labels", "CREATE ROLE", "depends on the time", "event triggers"),
        *("operator classes", "functions in C", "NOT NULL"),
    ]
    assert [word for word in words if not re.search(re.escape(word), guide)] == []
