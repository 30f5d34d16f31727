"""Tables that the import of a site depends on."""

import pytest
from django.db import connection

from backups.site_import import (
    COLUMNS_QUERY,
    EXCLUDED_TABLES,
    FOREIGN_KEYS_QUERY,
    SITE_TABLES_QUERY,
    SiteImport,
    list_site_tables,
)

pytestmark = pytest.mark.django_db


def fetch(query, *values):
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return cursor.fetchall()


def test_list_site_tables_includes_every_excluded_table():
    assert set(list_site_tables()) == {row[0] for row in fetch(SITE_TABLES_QUERY)} | {"sites_site"}
    assert set(list_site_tables()) >= EXCLUDED_TABLES


def test_site_import_supports_the_keys_of_every_restored_table():
    """No restored table may refer to a table with numeric keys, because those keys are not preserved."""
    tables = set(list_site_tables()) - EXCLUDED_TABLES
    numbered = {
        table
        for table in tables
        if any(key and type_ in {"bigint", "integer"} for _, type_, _, key in fetch(COLUMNS_QUERY, table))
    }

    for table in tables:
        targets = {target for _, target, _ in fetch(FOREIGN_KEYS_QUERY, table)}
        assert not targets & numbered, f"{SiteImport.__name__} cannot keep the references of {table}"
