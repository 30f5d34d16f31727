"""Random schemas, and random changes to them, for tests of backups.

A statement may fail, for example because an object depends on what it drops; then nothing changes.
"""

import contextlib
import random
from collections import Counter

import psycopg

TYPES = (
    "int",
    "bigint",
    "text",
    "numeric(12, 2)",
    "timestamptz",
    "uuid",
    "jsonb",
    "int[]",
    "bytea",
    "interval",
)
COLUMNS_QUERY = """
SELECT quote_ident(a.attname), format_type(a.atttypid, NULL), t.typtype
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"""


class RandomSchema:
    """Creates objects in a database. `kinds` counts the objects of each kind that were created."""

    def __init__(self, dsn, seed):
        self.dsn = dsn
        self.random = random.Random(seed)
        self.number = 0
        self.kinds = Counter()
        self.tables = []
        self.columns = {}
        self.types = []
        self.functions = []
        self.schemas = ["public"]

    def create(self, count):
        """Try to create `count` objects. Every kind is tried before one is tried again."""
        creators = sorted(name for name in dir(self) if name.startswith("create_"))
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            self.attempt(connection, "table", self.create_table())
            while count > 0:
                self.random.shuffle(creators)
                for name in creators[:count]:
                    self.attempt(connection, name.removeprefix("create_"), getattr(self, name)())
                count -= len(creators)
            self.insert_rows(connection)

    def change(self, count):
        """Try `count` changes of the schema and of rows."""
        changes = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("change_")]
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for _ in range(count):
                self.attempt(connection, "", self.random.choice(changes)())
            self.insert_rows(connection)

    def attempt(self, connection, kind, statements):
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '5s'")
                connection.execute(statements.encode())
        except psycopg.Error:
            return
        if kind:
            self.kinds[kind] += 1

    def insert_rows(self, connection):
        """Insert rows with values in a random column into every table, and delete a row."""
        for table in self.tables:
            with contextlib.suppress(psycopg.Error):
                columns = connection.execute(COLUMNS_QUERY, [table]).fetchall()
                for name, type_name, kind in columns:
                    value = self.value(type_name, kind)
                    statement = f"INSERT INTO {table} ({name}) SELECT {value} FROM generate_series(1, 5) n"
                    self.attempt(connection, "", statement)
            self.attempt(
                connection, "", f"DELETE FROM {table} WHERE ctid = '(0,{self.random.randint(1, 9)})'"
            )

    def value(self, type_name, kind):
        """An expression of this type that may use the number `n`."""
        expressions = {
            "e": f"(enum_range(NULL::{type_name}))[1 + n % 2]",
            "c": f"jsonb_populate_record(NULL::{type_name}, jsonb_build_object('a', n, 'bee', 'text'))",
            "r": f"{type_name}(n, n + 1)",
            "d": "'value ' || n",
        }
        literals = {
            "timestamp with time zone": "timestamptz '2026-03-29 02:30+01' + n * interval '1 h'",
            "uuid": "gen_random_uuid()",
            "jsonb": "jsonb_build_object('n', n, 'tab', E'\\t\\\\')",
            "integer[]": "ARRAY[n, NULL, n]",
            "bytea": "decode('00ff5c', 'hex')",
            "interval": "n * interval '1 day 3 hours'",
            "text": "E'tab\\t, back \\\\ slash, line\\n' || n",
        }
        return expressions.get(kind) or literals.get(type_name, "n")

    def name(self, kind):
        """A new name in a random schema. Some need quotes, and some contain a dot."""
        self.number += 1
        text = self.random.choice([f"{kind}_{self.number}", f"{kind} {self.number}", f"{kind}.{self.number}"])
        return f'{self.random.choice(self.schemas)}."{text}"'

    def local_name(self, kind):
        return self.name(kind).partition(".")[2]

    def table(self):
        return self.random.choice(self.tables)

    def column(self, table):
        return self.random.choice(self.columns[table])

    def type(self):
        return self.random.choice([*TYPES, *self.types])

    def new_table(self, suffix="", columns=3):
        table = self.name("table")
        names = [f'"c {number}"' for number in range(columns)]
        self.tables.append(table)
        self.columns[table] = ["id", *names]
        definitions = ", ".join(f"{name} {self.type()}" for name in names)
        return table, f"CREATE TABLE {table} (id int, {definitions}){suffix}"

    # --- objects ---

    def create_schema(self):
        name = self.local_name("schema")
        self.schemas.append(name)
        return f"CREATE SCHEMA {name}"

    def create_table(self):
        return self.new_table()[1]

    def create_unlogged_or_optioned_table(self):
        return self.new_table(" WITH (fillfactor = 80)")[1]

    def create_inheriting_table(self):
        parent = self.table()
        _, statement = self.new_table(f" INHERITS ({parent})", columns=0)
        return statement.replace("id int, ", "extra int")

    def create_partitioned_table(self):
        strategy = self.random.choice(["RANGE", "HASH", "LIST"])
        table, statement = self.new_table(f" PARTITION BY {strategy} (id)")
        bounds = {
            "RANGE": ["FROM (MINVALUE) TO (10)", "FROM (10) TO (MAXVALUE)"],
            "HASH": ["WITH (MODULUS 2, REMAINDER 0)", "WITH (MODULUS 2, REMAINDER 1)"],
            "LIST": ["IN (1, 2, 3)"],
        }[strategy]
        statements = [statement]
        statements += [
            f"CREATE TABLE {self.name('part')} PARTITION OF {table} FOR VALUES {bound}" for bound in bounds
        ]
        if strategy != "HASH":
            statements.append(f"CREATE TABLE {self.name('part')} PARTITION OF {table} DEFAULT")
        return "; ".join([*statements, f"CREATE INDEX ON {table} (id)"])

    def create_primary_key(self):
        return (
            f"ALTER TABLE {self.table()} ADD COLUMN {self.local_name('key')} int GENERATED ALWAYS"
            f" AS IDENTITY PRIMARY KEY"
        )

    def create_serial_column(self):
        return f"ALTER TABLE {self.table()} ADD COLUMN {self.local_name('serial')} serial UNIQUE"

    def create_generated_column(self):
        storage = self.random.choice(["STORED", "VIRTUAL"])
        return (
            f"ALTER TABLE {self.table()} ADD COLUMN {self.local_name('twice')} int GENERATED"
            f" ALWAYS AS (id * 2) {storage}"
        )

    def create_index(self):
        table = self.table()
        column = self.column(table)
        form = self.random.choice([column, f"({column} IS NULL)", f"{column} DESC", f"id, {column}"])
        where = self.random.choice(["", " WHERE id > 3"])
        return f"CREATE INDEX ON {table} ({form}){where}"

    def create_check(self):
        table = self.table()
        valid = self.random.choice(["", " NOT VALID"])
        return f"ALTER TABLE {table} ADD CONSTRAINT {self.local_name('check')} CHECK (id > -5){valid}"

    def create_not_null(self):
        table = self.name("given")  # without heirs, for which pg_dump 18 writes wrong statements
        return (
            f"CREATE TABLE {table} (id int); INSERT INTO {table} VALUES (NULL);"
            f" ALTER TABLE {table} ADD CONSTRAINT {self.local_name('given')} NOT NULL id NOT VALID"
        )

    def create_foreign_key(self):
        child = self.table()
        parent = self.table()
        key = self.local_name("target")
        return (
            f"ALTER TABLE {parent} ADD COLUMN {key} serial UNIQUE;"
            f" ALTER TABLE {child} ADD COLUMN {key} int;"
            f" ALTER TABLE {child} ADD CONSTRAINT {self.local_name('reference')} FOREIGN KEY ({key})"
            f" REFERENCES {parent} ({key}) ON DELETE SET NULL DEFERRABLE"
        )

    def create_exclusion(self):
        return f"ALTER TABLE {self.table()} ADD EXCLUDE USING gist (int4range(id, id) WITH &&)"

    def create_enum(self):
        name = self.name("enum")
        self.types.append(name)
        return f"CREATE TYPE {name} AS ENUM ('red', 'green', 'it''s blue')"

    def create_domain(self):
        name = self.name("domain")
        self.types.append(name)
        return f"CREATE DOMAIN {name} AS text COLLATE \"C\" CHECK (VALUE <> 'x')"

    def create_composite(self):
        name = self.name("pair")
        self.types.append(name)
        return f"CREATE TYPE {name} AS (a int, b {self.type()})"

    def create_range(self):
        name = self.name("range")
        self.types.append(name)
        return f"CREATE TYPE {name} AS RANGE (subtype = float8)"

    def create_sequence(self):
        name = self.name("sequence")
        return f"CREATE SEQUENCE {name} START 7 INCREMENT 3; SELECT nextval('{name}')"

    def create_function(self):
        name = self.name("function")
        self.functions.append(name)
        language = self.random.choice(["SELECT $1", "SELECT $1 + 1 -- a comment; with a semicolon"])
        return f"CREATE FUNCTION {name}(int) RETURNS int LANGUAGE sql IMMUTABLE AS $body$ {language}\n$body$"

    def create_sql_body_function(self):
        return (
            f"CREATE FUNCTION {self.name('atomic')}(n int) RETURNS int LANGUAGE sql BEGIN ATOMIC"
            f" SELECT n + 1; END"
        )

    def create_procedure(self):
        return f"CREATE PROCEDURE {self.name('procedure')}() LANGUAGE plpgsql AS 'BEGIN NULL; END'"

    def create_aggregate(self):
        return f"CREATE AGGREGATE {self.name('total')}(int) (SFUNC = int4pl, STYPE = int)"

    def create_operator(self):
        schema = self.random.choice(self.schemas)
        operator = "=" + "".join(self.random.choices("~!@#%", k=4)) + "="
        return f"CREATE OPERATOR {schema}.{operator} (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)"

    def create_cast(self):
        name = self.name("castable")
        return f"CREATE TYPE {name} AS ENUM ('a'); CREATE CAST (varchar AS {name}) WITH INOUT AS ASSIGNMENT"

    def create_collation(self):
        return f"CREATE COLLATION {self.name('collation')} (provider = builtin, locale = 'C.UTF-8')"

    def create_text_search(self):
        return f"CREATE TEXT SEARCH CONFIGURATION {self.name('search')} (COPY = pg_catalog.english)"

    def create_view(self):
        return f"CREATE VIEW {self.name('view')} AS SELECT id, count(*) FROM {self.table()} GROUP BY id"

    def create_view_of_row(self):
        view = self.name("rows")
        return (
            f"CREATE VIEW {view} AS SELECT id FROM {self.table()};"
            f" CREATE FUNCTION {self.name('of row')}({view}) RETURNS int LANGUAGE sql AS 'SELECT $1.id'"
        )

    def create_materialized_view(self):
        view = self.name("kept")
        data = self.random.choice(["", " WITH NO DATA"])
        return (
            f"CREATE MATERIALIZED VIEW {view} AS SELECT DISTINCT id FROM {self.table()}{data};"
            f" CREATE UNIQUE INDEX ON {view} (id)"
        )

    def create_trigger(self):
        function = self.name("on change")
        table = self.table()
        trigger = self.local_name("trigger")
        return (
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            f" CREATE TRIGGER {trigger} BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}();"
            + self.random.choice(["", f" ALTER TABLE {table} DISABLE TRIGGER {trigger}"])
        )

    def create_rule(self):
        return (
            f"CREATE RULE {self.local_name('rule')} AS ON UPDATE TO {self.table()} WHERE new.id ="
            f" -1 DO ALSO NOTIFY news"
        )

    def create_policy(self):
        table = self.table()
        return (
            f"CREATE POLICY {self.local_name('policy')} ON {table} USING (id > 0);"
            f" ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
        )

    def create_comment(self):
        table = self.table()
        return (
            f"COMMENT ON TABLE {table} IS 'line one\n-- Name: x; Type: TABLE'; COMMENT ON COLUMN"
            f" {table}.id IS 'it''s'"
        )

    def create_statistics(self):
        table = self.table()
        return f"CREATE STATISTICS {self.name('statistics')} ON id, {self.column(table)} FROM {table}"

    def create_publication(self):
        return f"CREATE PUBLICATION {self.local_name('publication')} FOR TABLE {self.table()}"

    def create_replica_identity(self):
        return f"ALTER TABLE {self.table()} REPLICA IDENTITY FULL"

    # --- changes ---

    def change_add_column(self):
        table = self.table()
        return (
            f"ALTER TABLE {table} ADD COLUMN {self.local_name('new')} int DEFAULT {self.random.randint(0, 9)}"
        )

    def change_drop_column(self):
        table = self.table()
        return f"ALTER TABLE {table} DROP COLUMN {self.column(table)}"

    def change_rename_column(self):
        table = self.table()
        old = self.column(table)
        new = self.local_name("renamed")
        self.columns[table] = [new if name == old else name for name in self.columns[table]]
        return f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}"

    def change_rename_table(self):
        old = self.table()
        new = self.local_name("moved")
        schema = old.partition(".")[0] if old[0] != '"' else old[: old.index('".') + 1]
        self.tables[self.tables.index(old)] = f"{schema}.{new}"
        self.columns[f"{schema}.{new}"] = self.columns[old]
        return f"ALTER TABLE {old} RENAME TO {new}"

    def change_enum_label(self):
        return f"ALTER TYPE {self.type()} RENAME VALUE 'red' TO 'ruby'"

    def change_attribute(self):
        action = self.random.choice(["ADD ATTRIBUTE z text", "DROP ATTRIBUTE a", "RENAME ATTRIBUTE b TO bee"])
        return f"ALTER TYPE {self.type()} {action}"

    def change_drop_table(self):
        if len(self.tables) < 4:
            return "SELECT 1"
        table = self.table()
        self.tables.remove(table)
        return f"DROP TABLE {table} CASCADE"

    def change_truncate(self):
        return f"TRUNCATE {self.table()} CASCADE"

    def change_type_of_column(self):
        table = self.table()
        column = self.column(table)
        return f"ALTER TABLE {table} ALTER COLUMN {column} TYPE text USING {column}::text"

    def change_rewrite(self):
        return f"UPDATE {self.table()} SET id = id + 1 WHERE id % 3 = 0"

    def change_object(self):
        creators = [name for name in sorted(dir(self)) if name.startswith("create_")]
        return getattr(self, self.random.choice(creators))()
