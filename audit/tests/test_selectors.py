"""Searching the audit trail: what is found, and how many rows PostgreSQL reads for it."""

import json
import uuid

import pytest
from django.db import connection

from audit import selectors
from audit.actors import ANONYMOUS, Actor, request_origin
from audit.models import Entry
from audit.selectors import search_entries, search_entries_visible_to
from audit.services import record
from audit.subjects import Subject
from core.ids import uuid7

pytestmark = pytest.mark.django_db
READER = uuid.UUID(int=1)
OWN_ENTRIES = 30
FOREIGN_ENTRIES = 8_000
INSERT_ENTRIES = """
    INSERT INTO audit_entry
    SELECT id, 'user.changed', 'user', person, 'user', person, NULL, person, NULL, '', '{}', '{}', now()
    FROM unnest(%s::uuid[], %s::uuid[]) AS new (id, person)"""
INSERT_VALUES = """
    INSERT INTO audit_personal (entry_id, field, value, salt)
    SELECT id, 'name', 'Ada ' || id, '' FROM unnest(%s::uuid[]) AS new (id)"""


def insert_entries(people):
    """Insert one entry about each of these people, with one personal value."""
    ids = [uuid7() for _ in people]
    with connection.cursor() as cursor:
        cursor.execute(INSERT_ENTRIES, [ids, list(people)])
        cursor.execute(INSERT_VALUES, [ids])
        cursor.execute("ANALYZE audit_entry, audit_personal")


def rows_read(queryset):
    """The number of table rows that PostgreSQL reads for the query, those that a filter removes included."""
    plan = json.loads(queryset.explain(format="json", analyze=True))[0]["Plan"]

    def count(node):
        own = 0
        if "Relation Name" in node:
            removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
            own = (node["Actual Rows"] + removed) * node["Actual Loops"]
        return own + sum(count(child) for child in node.get("Plans", []))

    return count(plan)


def found_events(queryset):
    return sorted(queryset.values_list("event", flat=True))


def test_search_entries_visible_to_reads_only_rows_of_the_reader():
    insert_entries([uuid.uuid4() for _ in range(FOREIGN_ENTRIES)])
    insert_entries([READER] * OWN_ENTRIES)

    for text, matches in (("ada", OWN_ENTRIES), ("nobody", 0)):
        entries = search_entries_visible_to(READER, Entry.objects.all(), text)
        page = entries.order_by("-id")[:21]

        assert len(entries) == matches
        assert rows_read(page) <= 6 * OWN_ENTRIES  # each entry twice in the union, again, and its values


def test_search_entries_reads_a_bounded_number_of_the_newest_rows(monkeypatch):
    monkeypatch.setattr(selectors, "MAX_SEARCHED_ENTRIES", 100)
    insert_entries([uuid.uuid4() for _ in range(FOREIGN_ENTRIES)])

    entries = search_entries(Entry.objects.all(), "nobody").order_by("-id")[:21]

    assert len(entries) == 0
    assert rows_read(entries) <= 6 * 100


def test_search_entries_searches_the_newest_entries(monkeypatch):
    monkeypatch.setattr(selectors, "MAX_SEARCHED_ENTRIES", 2)
    for event in ("oldest", "older", "newest"):
        record(event, actor=ANONYMOUS, subject=Subject("user"), personal={"name": "Ada"})

    assert found_events(search_entries(Entry.objects.all(), "ADA")) == ["newest", "older"]


def test_search_entries_visible_to_finds_events_facts_and_personal_values():
    own = Actor("user", READER)
    record("site.changed", actor=own, subject=Subject("site"), fields=["subdomain"])
    record(
        "user.changed", actor=ANONYMOUS, subject=Subject("user", owner_id=READER), personal={"name": "Ada"}
    )
    record("user.deleted", actor=ANONYMOUS, subject=Subject("user"), personal={"name": "Ada of another user"})

    def search(text):
        return found_events(search_entries_visible_to(READER, Entry.objects.all(), text))

    assert [search(text) for text in ("SITE.", "subdomain", "ada", "another")] == [
        ["site.changed"],
        ["site.changed"],
        ["user.changed"],
        [],
    ]


def test_search_entries_visible_to_does_not_match_a_hidden_network():
    subject = Subject("user", owner_id=READER)
    actors = {
        "by.owner": Actor("user", READER),
        "by.staff": Actor("staff", uuid.uuid4()),
        "by.system": Actor("system"),
        "by.anonymous": ANONYMOUS,
    }
    for event, actor in actors.items():
        with request_origin(network="198.51.100.0/24"):
            record(event, actor=actor, subject=subject)
    with request_origin(network="198.51.100.0/24", impersonator_id=uuid.uuid4()):
        record("by.impersonator", actor=actors["by.owner"], subject=subject)

    entries = Entry.objects.filter(owner_id=READER)
    assert found_events(search_entries_visible_to(READER, entries, "198.51")) == ["by.anonymous", "by.owner"]
    assert len(found_events(search_entries(entries, "198.51"))) == 5
