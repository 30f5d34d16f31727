"""Tests that sealing gives each entry one number, whatever runs beside it or kills it."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.db import connection, connections, transaction

from audit.chain import sealing
from audit.models import Entry, Seal
from audit.tests.trail_helpers import find_fault, record_entries, seal_all, sign_and_store

pytestmark = [pytest.mark.django_db, pytest.mark.commits]


def test_seal_pending_seals_each_entry_of_a_hundred_parallel_writers_once(trail):
    def write_and_seal(number):
        try:
            if number % 25 == 0:
                sealing.seal_pending(limit=7)
            with transaction.atomic():
                record_entries(3)
                if number % 10 == 0:
                    transaction.set_rollback(True)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(write_and_seal, range(100)))
    seal_all()

    assert Seal.objects.count() == Entry.objects.count() == 270
    assert sorted(Seal.objects.values_list("number", flat=True)) == list(range(1, 271))
    assert find_fault() is None


def test_seal_pending_seals_a_transaction_that_commits_late(trail):
    has_written = threading.Event()
    may_commit = threading.Event()

    def write_slowly():
        try:
            with transaction.atomic():
                record_entries(1, late=True)
                has_written.set()
                may_commit.wait(10)
        finally:
            connections.close_all()

    writer = threading.Thread(target=write_slowly)
    writer.start()
    has_written.wait(10)
    record_entries(3)
    assert sealing.seal_pending() == 3
    may_commit.set()
    writer.join()

    assert sealing.seal_pending() == 1
    assert find_fault() is None


def write(rng, superuser):
    record_entries(rng.randint(1, 4))


def write_and_roll_back(rng, superuser):
    with transaction.atomic():
        record_entries(2)
        transaction.set_rollback(True)


def seal(rng, superuser):
    sealing.seal_pending(limit=rng.randint(1, 6))


def seal_and_be_killed(rng, superuser):
    with pytest.raises(psycopg.Error), transaction.atomic():  # noqa: PT012 - killed somewhere inside
        sealing.seal_pending(limit=rng.randint(1, 6))
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            superuser.execute("SELECT pg_terminate_backend(%s)", [cursor.fetchone()[0]])
            connection.connection.execute("SELECT 1")
    connection.close()


def checkpoint(rng, superuser):
    sign_and_store()


ACTIONS = [write, write, write_and_roll_back, seal, seal_and_be_killed, checkpoint]


@pytest.mark.parametrize("seed", range(200 if os.environ.get("SOAK") else 12))
def test_seal_pending_leaves_a_valid_chain_after_any_order_of_writes_rollbacks_and_kills(
    trail, superuser, seed
):
    rng = random.Random(seed)
    for _ in range(30):
        rng.choice(ACTIONS)(rng, superuser)
    seal_all()

    assert find_fault() is None
    assert Seal.objects.count() == Entry.objects.count()
