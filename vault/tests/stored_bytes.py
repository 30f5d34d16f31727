"""Everything that a running server has stored: tables, files, Redis, logs, metrics and a backup."""

import secrets

import httpx
import psycopg
import redis

TABLES = """
    SELECT c.oid::regclass::text
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname = 'public'
"""
ZERO_BYTES = bytes(512)


def collect_stored_bytes(stack, web):
    """Return everything that the server has stored, by place."""
    return {
        "tables": dump_tables(stack.database_url),
        "files": b"\n".join(read_written_files(stack.home)),
        "redis": dump_redis(stack.redis_url),
        "logs": web.log.read_bytes(),
        "metrics": httpx.get(f"http://127.0.0.1:{web.internal_port}/metrics").content,
        "backup": read_backup(stack),
    }


def read_written_files(home):
    """Yield the content of every file that the servers wrote, except for their programs.

    Runs of zeros are removed, because they contain nothing and are long.
    """
    for path in home.rglob("*"):
        if "pginstall18" in path.parts or any(part.endswith(".libs") for part in path.parts):
            continue
        try:
            yield path.read_bytes().replace(ZERO_BYTES, b"")
        except (IsADirectoryError, FileNotFoundError):  # the server may have removed the file since
            continue


def dump_tables(database_url):
    """Return the names and the rows of all tables, as text."""
    lines = []
    with psycopg.connect(database_url) as connection:
        connection.execute("SET app.context = 'system'")
        for (table,) in connection.execute(TABLES).fetchall():
            rows = connection.execute(f"SELECT t::text FROM {table} t").fetchall()
            lines += [table, *(text for (text,) in rows)]
    return "\n".join(lines).encode()


def dump_redis(redis_url):
    """Return all keys with their values. DUMP would not do: it may compress values."""
    client = redis.Redis.from_url(redis_url)
    return b"\n".join(key + b" " + read_redis_value(client, key) for key in client.scan_iter(count=1000))


def read_redis_value(client, key):
    readers = {
        "string": client.get,
        "hash": client.hgetall,
        "set": client.smembers,
        "stream": client.xrange,
        "list": lambda key: client.lrange(key, 0, -1),
        "zset": lambda key: client.zrange(key, 0, -1),
        "none": lambda key: b"",
    }
    value = readers[client.type(key).decode()](key)
    return b" ".join(flatten_bytes(value))


def flatten_bytes(value):
    """Yield the byte strings in a value that the Redis client returned."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        yield from flatten_bytes([*value.items()])
    elif isinstance(value, list | tuple | set):
        for element in value:
            yield from flatten_bytes(element)


def read_backup(stack):
    """Run a backup. Return the bytes of its files, and of its tables after they were restored."""
    database = f"restored_{secrets.token_hex(4)}"
    folder = stack.home / f"backups-{database}"
    environment = {"BACKUP_STORE_URL": f"file://{folder}"}
    stack.manage("backup_run", **environment)
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}")
    restored_url = stack.database_url.rpartition("/")[0] + f"/{database}"
    stack.manage("backup_restore", "--target", restored_url, "--prove", **environment)
    return dump_tables(restored_url) + b"".join(
        path.read_bytes() for path in folder.rglob("*") if path.is_file()
    )
