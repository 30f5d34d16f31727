"""What happens to the trail shows: edits, deletions, insertions, a rebuilt chain, killed sealers."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.utils import timezone

from audit.actors import SYSTEM, Actor, request_origin
from audit.chain import checkpoints, hashing, sealing
from audit.chain.verification import verify
from audit.models import Checkpoint, Entry, Personal, Seal
from audit.partitions import entry_partitions, lowest_id
from audit.services import erase_personal, record
from audit.subjects import Subject
from core.ids import uuid7

pytestmark = [pytest.mark.django_db, pytest.mark.commits]
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def write(count=1, **facts):
    return [
        record("thing.done", actor=SYSTEM, subject=Subject("thing", uuid7(), "Label"), number=number, **facts)
        for number in range(count)
    ]


@pytest.fixture
def sealed(trail):
    """Twenty sealed entries and a stored checkpoint at the twentieth."""
    entries = write(20)
    sealing.seal_pending()
    checkpoints.make_checkpoint(now=NOW)
    checkpoints.store_checkpoints(now=NOW)
    return entries


def fault():
    found = verify(now=timezone.now() + timedelta(minutes=5)).fault
    return (found["kind"], found.get("number")) if found else None


def test_a_whole_trail_is_good(sealed):
    write(5)
    sealing.seal_pending()

    verdict = verify(now=timezone.now())

    assert (verdict.good, verdict.rows, verdict.last, verdict.checkpoints, verdict.erased) == (
        True,
        25,
        25,
        1,
        0,
    )


@pytest.mark.parametrize(
    "change",
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
def test_an_edited_entry_is_named(sealed, superuser, change):
    superuser.execute(f"UPDATE audit_entry SET {change} WHERE id = %s", [sealed[6]])

    assert fault() == ("altered", 7)


def test_a_deleted_entry_is_named(sealed, superuser):
    superuser.execute("DELETE FROM audit_entry WHERE id = %s", [sealed[3]])

    assert fault() == ("missing", 4)


def test_an_entry_deleted_with_its_seal_is_named(sealed, superuser):
    superuser.execute("DELETE FROM audit_entry WHERE id = %s", [sealed[3]])
    superuser.execute("DELETE FROM audit_seal WHERE entry_id = %s", [sealed[3]])

    assert fault() == ("missing", 4)


def test_the_newest_entries_cut_off_with_their_seals_are_missed_by_the_checkpoint(sealed, superuser):
    superuser.execute("DELETE FROM audit_entry WHERE id = ANY(%s)", [sealed[15:]])
    superuser.execute("DELETE FROM audit_seal WHERE number > 15")
    superuser.execute("DELETE FROM audit_checkpoint")

    assert fault() == ("checkpoint", 20)


def test_an_inserted_entry_is_named(sealed, superuser):
    superuser.execute(
        "INSERT INTO audit_entry SELECT gen_random_uuid_v7, event, actor_kind, actor_id, subject_type, subject_id, site_id, owner_id, session_id, request_id, "
        "facts, personal, created_at FROM audit_entry, (SELECT %s::uuid AS gen_random_uuid_v7) made WHERE id = %s",
        [uuid7(), sealed[2]],
    )

    assert fault() == ("inserted", None)


def test_a_changed_seal_is_named(sealed, superuser):
    superuser.execute("UPDATE audit_seal SET leaf = digest WHERE number = 9")

    assert fault() == ("altered", 9)


def rebuild(superuser):
    """What an attacker with every right can do: change an entry and compute every later seal anew."""
    superuser.execute(
        "UPDATE audit_entry SET facts = '{\"number\": 99}' WHERE id = (SELECT entry_id FROM audit_seal WHERE number = 5)"
    )
    superuser.execute("DELETE FROM audit_pending")
    superuser.execute("INSERT INTO audit_pending SELECT entry_id, now() FROM audit_seal")
    superuser.execute("TRUNCATE audit_seal")
    sealing.seal_pending()


def test_a_rebuilt_chain_is_found_against_the_stored_checkpoint(sealed, superuser):
    rebuild(superuser)
    superuser.execute("DELETE FROM audit_checkpoint")

    assert fault() == ("checkpoint", 20)


def test_a_rebuilt_chain_is_found_against_the_checkpoint_in_the_database(sealed, superuser, trail):
    rebuild(superuser)
    for path in trail.rglob("*.json"):
        path.unlink()

    assert fault() == ("checkpoint", 20)


def test_a_checkpoint_signed_by_somebody_else_is_refused(sealed, superuser):
    superuser.execute(
        "UPDATE audit_checkpoint SET document = replace(document, '\"number\": 20', '\"number\": 20 ')"
    )
    assert fault() is None  # the same statement in other words
    superuser.execute("UPDATE audit_checkpoint SET document = replace(document, '2030', '2031')")

    assert fault() == ("checkpoint", 20)


def test_the_applications_own_role_can_change_nothing(sealed):
    month = entry_partitions.name_of(timezone.now())
    for statement in (
        "UPDATE audit_entry SET event = 'x'",
        "DELETE FROM audit_entry",
        "TRUNCATE audit_entry",
        f"TRUNCATE {month}",
        f"DELETE FROM {month}",
        f"UPDATE {month} SET event = 'x'",
        "UPDATE audit_seal SET number = number + 1",
        "DELETE FROM audit_seal",
        "TRUNCATE audit_seal",
        "UPDATE audit_personal SET value = 'x'",
    ):
        with (
            pytest.raises(IntegrityError, match="never changed"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
    assert fault() is None


def test_an_erased_value_is_erased_and_not_altered(trail):
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

    assert erase_personal(owner_id=person) == 4

    verdict = verify(now=timezone.now())
    assert (verdict.good, verdict.erased) == (True, 4)
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(e::text, '') FROM audit_entry e")
        kept = cursor.fetchone()[0]
    assert not any(secret in kept for secret in ("me@example.com", "203.0.113"))


def test_a_swapped_personal_value_is_altered(sealed, superuser):
    superuser.execute("UPDATE audit_personal SET value = 'Somebody else' WHERE entry_id = %s", [sealed[0]])

    assert fault() == ("altered", None)


def test_a_hundred_parallel_writers_and_four_sealers_seal_each_entry_once(trail):
    def work(number):
        try:
            if number % 25 == 0:
                sealing.seal_pending(limit=7)
            with transaction.atomic():
                write(3)
                if number % 10 == 0:
                    transaction.set_rollback(True)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(100)))
    while sealing.seal_pending():
        pass

    assert Seal.objects.count() == Entry.objects.count() == 270
    assert sorted(Seal.objects.values_list("number", flat=True)) == list(range(1, 271))
    assert fault() is None


def test_a_transaction_that_commits_late_is_sealed_in_its_turn(trail):
    begun = threading.Event()
    go = threading.Event()

    def late():
        try:
            with transaction.atomic():
                write(1, late=True)
                begun.set()
                go.wait(10)
        finally:
            connections.close_all()

    slow = threading.Thread(target=late)
    slow.start()
    begun.wait(10)
    write(3)
    assert sealing.seal_pending() == 3
    go.set()
    slow.join()

    assert sealing.seal_pending() == 1
    assert fault() is None


@pytest.mark.parametrize("seed", range(200 if os.environ.get("SOAK") else 12))
def test_any_interleaving_of_writers_rollbacks_and_killed_sealers_leaves_a_good_chain(trail, superuser, seed):
    dice = random.Random(seed)
    for _ in range(30):
        act = dice.choice(["write", "write", "rollback", "seal", "killed", "checkpoint"])
        if act == "write":
            write(dice.randint(1, 4))
        elif act == "rollback":
            with transaction.atomic():
                write(2)
                transaction.set_rollback(True)
        elif act == "seal":
            sealing.seal_pending(limit=dice.randint(1, 6))
        elif act == "checkpoint":
            checkpoints.make_checkpoint(now=NOW)
            checkpoints.store_checkpoints(now=NOW)
        else:
            with pytest.raises(psycopg.Error), transaction.atomic():  # noqa: PT012 - killed somewhere inside
                sealing.seal_pending(limit=dice.randint(1, 6))
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_backend_pid()")
                    superuser.execute("SELECT pg_terminate_backend(%s)", [cursor.fetchone()[0]])
                    connection.connection.execute("SELECT 1")
            connection.close()
    while sealing.seal_pending():
        pass

    assert fault() is None
    assert Seal.objects.count() == Entry.objects.count()


def test_checkpoints_wait_while_the_object_store_is_down(trail):
    write(2)
    sealing.seal_pending()
    trail.parent.mkdir(parents=True, exist_ok=True)
    trail.write_text("a file where the folder should be")
    checkpoints.make_checkpoint(now=NOW)

    assert checkpoints.store_checkpoints(now=NOW) == 0
    assert Checkpoint.objects.get().stored_at is None
    trail.unlink()
    assert checkpoints.store_checkpoints(now=NOW) == 1
    assert checkpoints.store_checkpoints(now=NOW) == 0
    assert verify(now=timezone.now()).checkpoints == 1


def test_a_part_of_the_trail_is_verified_alone(sealed, superuser):
    superuser.execute("UPDATE audit_entry SET event = 'x' WHERE id = %s", [sealed[0]])

    later = verify(
        now=timezone.now(), since=timezone.now() + timedelta(days=1), until=timezone.now() + timedelta(days=2)
    )

    assert (later.good, later.rows) == (True, 0)
    assert fault() == ("altered", 1)


def test_months_are_made_ahead_without_a_default(trail):
    names = entry_partitions.names()

    assert names[: entry_partitions.months_ahead + 1][0] == entry_partitions.name_of(timezone.now())
    assert len(names) >= entry_partitions.months_ahead + 1
    assert entry_partitions.create_ahead(timezone.now()) == 0
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO audit_entry SELECT '{lowest_id(datetime(2019, 1, 1, tzinfo=UTC))}', 'x', 'system', null, 'x', null, null, null, null, '', '{{}}', '{{}}', now()"
        )


def test_bytes_cannot_move_between_fields():
    assert hashing.leaf([b"ab", b"c"]) != hashing.leaf([b"a", b"bc"])
    assert hashing.leaf([b"", b"a"]) != hashing.leaf([b"a", b""])
