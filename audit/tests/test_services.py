"""Tests of the rights of the application's role, and of the erasure of personal values."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from audit.actors import Actor, request_origin
from audit.chain import sealing
from audit.chain.partitions import entry_partitions
from audit.chain.verification import verify_trail
from audit.models import Personal
from audit.services import erase_personal_values, record
from audit.subjects import Subject
from audit.tests.trail_helpers import find_fault
from core.ids import uuid7

pytestmark = [pytest.mark.django_db, pytest.mark.commits]
STATEMENTS = [
    "UPDATE audit_entry SET event = 'x'",
    "DELETE FROM audit_entry",
    "TRUNCATE audit_entry",
    "TRUNCATE {month}",
    "DELETE FROM {month}",
    "UPDATE {month} SET event = 'x'",
    "UPDATE audit_seal SET number = number + 1",
    "DELETE FROM audit_seal",
    "TRUNCATE audit_seal",
    "UPDATE audit_personal SET value = 'x'",
]


def test_entry_and_seal_cannot_be_changed_by_the_role_of_the_application(sealed_entries):
    month = entry_partitions.name_of(timezone.now())
    for statement in STATEMENTS:
        with (
            pytest.raises(IntegrityError, match="never changed"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement.format(month=month))
    assert find_fault() is None


def test_erase_personal_values_deletes_the_values_and_keeps_the_chain_valid(trail):
    person = uuid7()
    with request_origin(network="203.0.113.0/24", request_id="request-1"):
        record(
            "user.changed",
            actor=Actor("user", person, "me@example.com"),
            subject=Subject("user", person, "me@example.com", owner_id=person),
            personal={"name_after": "Me"},
        )
    sealing.seal_pending()
    assert set(Personal.objects.values_list("field", flat=True)) == {
        "label",
        "actor",
        "network",
        "name_after",
    }

    assert erase_personal_values(owner_id=person) == 4

    result = verify_trail(now=timezone.now())
    assert (result.good, result.erased) == (True, 4)
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(e::text, '') FROM audit_entry e")
        entries = cursor.fetchone()[0]
    assert not any(value in entries for value in ("me@example.com", "203.0.113"))
