"""Names of tables in messages and in `--tables`."""

import pytest

from backups.engine.errors import BackupRefused
from backups.engine.table_names import TableName, format_table_name, parse_table_names

NAMES = {
    "public.page": TableName("public", "page"),
    '"shop"."de.item"': TableName("shop", "de.item"),
    '"shop.de".item': TableName("shop.de", "item"),
    '"with ""quotes"""."Odd, name"': TableName('with "quotes"', "Odd, name"),
}


@pytest.mark.parametrize("text", NAMES)
def test_parse_table_names_reads_what_format_table_name_writes(text):
    assert parse_table_names(text) == [NAMES[text]]
    assert parse_table_names(format_table_name(NAMES[text])) == [NAMES[text]]


def test_parse_table_names_reads_a_list_and_adds_the_default_schema():
    assert parse_table_names('page,other."a,b"') == [TableName("public", "page"), TableName("other", "a,b")]


@pytest.mark.parametrize("text", ["", "a.b.c", "a,,b", 'a"b', "a.", '"a'])
def test_parse_table_names_refuses(text):
    with pytest.raises(BackupRefused, match=r"schema\.table"):
        parse_table_names(text)
