"""Tests that `verify_trail` detects every manipulation of the trail."""

from datetime import timedelta

import pytest
from django.utils import timezone

from audit.chain import sealing
from audit.chain.verification import verify_trail
from audit.tests.trail_helpers import find_fault, record_entries
from core.ids import uuid7

pytestmark = [pytest.mark.django_db, pytest.mark.commits]
COPY_ENTRY = """
    INSERT INTO audit_entry
    SELECT %s::uuid, event, actor_kind, actor_id, subject_type, subject_id, site_id, owner_id, session_id,
           request_id, facts, personal, created_at
    FROM audit_entry
    WHERE id = %s
"""
CHANGE_FIFTH_ENTRY = """
    UPDATE audit_entry
    SET facts = '{"number": 99}'
    WHERE id = (SELECT entry_id FROM audit_seal WHERE number = 5)
"""


def rebuild_chain(superuser):
    """Change an entry and compute every seal again, as an attacker with every right can do."""
    superuser.execute(CHANGE_FIFTH_ENTRY)
    superuser.execute("DELETE FROM audit_pending")
    superuser.execute("INSERT INTO audit_pending SELECT entry_id, now() FROM audit_seal")
    superuser.execute("TRUNCATE audit_seal")
    sealing.seal_pending()


def test_verify_trail_accepts_an_intact_trail(sealed_entries):
    record_entries(5)
    sealing.seal_pending()

    result = verify_trail(now=timezone.now())

    assert result.good
    assert (result.rows, result.first, result.last) == (25, 1, 25)
    assert (result.checkpoints, result.erased, result.dropped) == (1, 0, 0)


@pytest.mark.parametrize(
    "assignment",
    [
        "event = 'thing.undone'",
        "facts = '{}'",
        "actor_id = gen_random_uuid()",
        "created_at = created_at + interval '1 microsecond'",
        "owner_id = gen_random_uuid()",
        "request_id = 'x'",
        "personal = '{}'",
        "event = event || 's', actor_kind = 'user'",
    ],
)
def test_verify_trail_names_a_changed_entry(sealed_entries, superuser, assignment):
    superuser.execute(f"UPDATE audit_entry SET {assignment} WHERE id = %s", [sealed_entries[6]])

    assert find_fault() == ("altered", 7)


def test_verify_trail_names_a_deleted_entry(sealed_entries, superuser):
    superuser.execute("DELETE FROM audit_entry WHERE id = %s", [sealed_entries[3]])

    assert find_fault() == ("missing", 4)


def test_verify_trail_names_an_entry_that_was_deleted_with_its_seal(sealed_entries, superuser):
    superuser.execute("DELETE FROM audit_entry WHERE id = %s", [sealed_entries[3]])
    superuser.execute("DELETE FROM audit_seal WHERE entry_id = %s", [sealed_entries[3]])

    assert find_fault() == ("missing", 4)


def test_verify_trail_detects_by_the_checkpoint_that_the_newest_entries_were_cut_off(
    sealed_entries, superuser
):
    superuser.execute("DELETE FROM audit_entry WHERE id = ANY(%s)", [sealed_entries[15:]])
    superuser.execute("DELETE FROM audit_seal WHERE number > 15")
    superuser.execute("DELETE FROM audit_checkpoint")

    assert find_fault() == ("checkpoint", 20)


def test_verify_trail_names_an_inserted_entry(sealed_entries, superuser):
    superuser.execute(COPY_ENTRY, [uuid7(), sealed_entries[2]])

    assert find_fault() == ("inserted", None)


def test_verify_trail_names_a_changed_seal(sealed_entries, superuser):
    superuser.execute("UPDATE audit_seal SET leaf = digest WHERE number = 9")

    assert find_fault() == ("altered", 9)


def test_verify_trail_detects_a_rebuilt_chain_by_the_stored_checkpoint(sealed_entries, superuser):
    rebuild_chain(superuser)
    superuser.execute("DELETE FROM audit_checkpoint")

    assert find_fault() == ("checkpoint", 20)


def test_verify_trail_detects_a_rebuilt_chain_by_the_checkpoint_in_the_database(
    sealed_entries, superuser, trail
):
    rebuild_chain(superuser)
    for path in trail.rglob("*.json"):
        path.unlink()

    assert find_fault() == ("checkpoint", 20)


def test_verify_trail_refuses_a_changed_checkpoint(sealed_entries, superuser):
    replace = "UPDATE audit_checkpoint SET document = replace(document, %s, %s)"
    superuser.execute(replace, ['"number": 20', '"number": 20 '])
    assert find_fault() is None, "the signature is over the canonical JSON, where white space does not count"

    superuser.execute(replace, ["2030", "2031"])

    assert find_fault() == ("checkpoint", 20)


def test_verify_trail_detects_a_changed_personal_value(sealed_entries, superuser):
    superuser.execute(
        "UPDATE audit_personal SET value = 'Another value' WHERE entry_id = %s", [sealed_entries[0]]
    )

    assert find_fault() == ("altered", None)


def test_verify_trail_verifies_a_range_alone(sealed_entries, superuser):
    superuser.execute("UPDATE audit_entry SET event = 'x' WHERE id = %s", [sealed_entries[0]])
    now = timezone.now()

    result = verify_trail(now=now, since=now + timedelta(days=1), until=now + timedelta(days=2))

    assert (result.good, result.rows) == (True, 0)
    assert find_fault() == ("altered", 1)
